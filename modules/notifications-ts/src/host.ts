// The platform over the host's capabilities.

import { now } from 'wasi:clocks/wall-clock@0.2.6';
import { log } from 'wasi:logging/logging@0.1.0-draft';
import { getRandomU64 } from 'wasi:random/random@0.2.6';
import { execute, query } from 'watertight:sql/sql@1.0.0';
import type { ConstraintKind, Error as HostError, Value } from 'watertight:sql/sql@1.0.0';

import { SqlError, ulid } from './common.ts';
import type { Platform, SqlValue } from './common.ts';

function millis(): bigint {
  const { seconds, nanoseconds } = now();
  return seconds * 1000n + BigInt(Math.floor(nanoseconds / 1_000_000));
}

/** What the host gives a module. */
export const host: Platform = {
  log,
  now: millis,
  newId: () => ulid(millis(), (getRandomU64() << 64n) | getRandomU64()),
  query: (statement, ...parameters) =>
    told(() => query(statement, parameters.map(toHost))).map((row) => row.map((value) => (value.tag === 'null' ? null : value.val))),
  execute: (statement, ...parameters) => told(() => execute(statement, parameters.map(toHost))),
};

function toHost(value: SqlValue): Value {
  if (value === null) return { tag: 'null' };
  switch (typeof value) {
    case 'bigint':
      return { tag: 'integer', val: value };
    case 'number':
      return { tag: 'real', val: value };
    case 'string':
      return { tag: 'text', val: value };
    default:
      return { tag: 'blob', val: value };
  }
}

/** Errors of the interface come as exceptions with a payload. */
function told<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error && 'payload' in error) throw fromHost(error.payload as HostError);
    throw error;
  }
}

const KINDS: Record<ConstraintKind, string> = {
  unique: 'Unique',
  'foreign-key': 'ForeignKey',
  'not-null': 'NotNull',
  check: 'Check',
  other: 'Other',
};

function fromHost(error: HostError): SqlError {
  switch (error.tag) {
    case 'constraint':
      return new SqlError(`constraint ${KINDS[error.val.kind]}: ${error.val.detail}`);
    case 'syntax':
      return new SqlError(`bad statement: ${error.val}`);
    case 'busy':
      return new SqlError('the database is busy', true);
    case 'timeout':
      return new SqlError('the statement ran out of time', true);
    case 'too-large':
      return new SqlError('the statement or its result is too large');
    case 'closed':
      return new SqlError('the transaction has ended');
    case 'storage':
      return new SqlError(`storage: ${error.val}`);
  }
}
