// The platform over the host's capabilities.

import { log } from 'wasi:logging/logging@0.1.0-draft';
import { now } from 'wasi:clocks/wall-clock@0.2.6';
import { getRandomU64 } from 'wasi:random/random@0.2.6';
import { execute, query } from 'watertight:sql/sql@1.0.0';

import { SqlError, ulid } from './common.js';

const millis = () => {
  const { seconds, nanoseconds } = now();
  return seconds * 1000n + BigInt(Math.floor(nanoseconds / 1_000_000));
};

/** What the host gives a module. */
export const host = {
  log,
  now: millis,
  newId: () => ulid(millis(), (getRandomU64() << 64n) | getRandomU64()),
  query: (statement, ...parameters) =>
    told(() => query(statement, parameters.map(toHost))).map((row) => row.map((value) => value.val ?? null)),
  execute: (statement, ...parameters) => told(() => execute(statement, parameters.map(toHost))),
};

function toHost(value) {
  return typeof value === 'bigint' ? { tag: 'integer', val: value } : { tag: 'text', val: value };
}

/** Errors of the interface come as exceptions with a payload. */
function told(act) {
  try {
    return act();
  } catch (error) {
    if (!error?.payload?.tag) throw error;
    throw fromHost(error.payload);
  }
}

const KINDS = { unique: 'Unique', 'foreign-key': 'ForeignKey', 'not-null': 'NotNull', check: 'Check', other: 'Other' };

function fromHost({ tag, val }) {
  switch (tag) {
    case 'constraint':
      return new SqlError(`constraint ${KINDS[val.kind]}: ${val.detail}`);
    case 'syntax':
      return new SqlError(`bad statement: ${val}`);
    case 'busy':
      return new SqlError('the database is busy', true);
    case 'timeout':
      return new SqlError('the statement ran out of time', true);
    case 'too-large':
      return new SqlError('the statement or its result is too large');
    case 'closed':
      return new SqlError('the transaction has ended');
    default:
      return new SqlError(`storage: ${val}`);
  }
}
