// Gives back what it gets.

import type * as contract from 'test:exact/values@1.0.0';

const digits = (value: bigint | number | boolean | string | ArrayLike<number> | boolean[]): string => String(value);

/** An error of the contract, as an exception. */
class Refusal<Payload> extends Error {
  readonly payload: Payload;

  constructor(payload: Payload) {
    super('refused');
    this.payload = payload;
  }
}

export const values: typeof contract = {
  signed: (n) => n,
  unsigned: (n) => n,
  words: digits,
  unsignedWords: digits,
  parsed: BigInt,
  unsignedParsed: BigInt,
  inRecord: ({ minor, cents, name }) => ({ minor, cents, name }),
  inShortRecord: (n) => n,
  inVariant: (n) => n,
  inTuple: (n) => n,
  inOption: (n) => n,
  inUnsignedOption: (n) => n,
  inList: (n) => n,
  inUnsignedList: (n) => n,
  inListOfRecords: (n) => n,
  inListOfResults: (n) => n,
  asResult(n) {
    if (n.tag === 'err') throw new Refusal(n.val);
    return n.val;
  },
  asError(n): bigint {
    throw new Refusal(n);
  },
  asProblem(problem): bigint {
    throw new Refusal(problem);
  },
  half: (n) => n,
  signedHalf: (n) => n,
  real: (n) => n,
  single: (n) => n,
  inMixed: (n) => n,
  inNarrow: (n) => n,
  inFloating: (n) => n,
  inPlain: (n) => n,
  inMany: (...all) => all.map(digits),
  inSmall: (...all) => all.map(digits),
};
