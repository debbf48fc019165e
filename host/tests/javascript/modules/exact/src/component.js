// Gives back what it gets, or what the neighbour makes of it.

import * as neighbour from 'test:exact/values@1.0.0';
import { signed } from 'test:exact/values';

const same = (n) => n;
const digits = (n) => String(n);

/** A result that came as a value, as a function gives it. */
function unwrapped({ tag, val }) {
  if (tag === 'err') throw { payload: val };
  return val;
}

export const values = {
  signed: same,
  unsigned: same,
  words: digits,
  unsignedWords: digits,
  parsed: BigInt,
  unsignedParsed: BigInt,
  inRecord: ({ minor, cents, name }) => ({ minor, cents, name }),
  inShortRecord: same,
  inVariant: same,
  inTuple: same,
  inOption: same,
  inUnsignedOption: same,
  inList: (list) => [...list],
  inUnsignedList: same,
  inListOfRecords: same,
  inListOfResults: same,
  asResult: unwrapped,
  asError(n) {
    throw n;
  },
  asProblem(problem) {
    throw Object.assign(new Error('refused'), { payload: problem });
  },
  half: same,
  signedHalf: same,
  real: same,
  single: same,
  inMixed: same,
  inNarrow: same,
  inFloating: same,
  inPlain: same,
  inMany: (...all) => all.map(digits),
  inSmall: (...all) => all.map(digits),
};

export const relayed = { ...neighbour };

const ODD = {
  none: undefined,
  fraction: 0.5,
  tooLarge: 2 ** 63,
  beyond: 2n ** 63n,
  below: -(2n ** 63n) - 1n,
  text: '1',
  whole: -7,
};

export const misfits = {
  give: (name) => ODD[name],
  handOver(name) {
    try {
      return `went through: ${signed(ODD[name])}`;
    } catch (error) {
      return `${error.name}: ${error.message}`;
    }
  },
};
