// What every contract of the shop shares: ids, paging, time, and how a field is checked and refused. No business rule is here.

/** A value that a statement takes or returns. Integers are bigints, as in the contract of the host's SQL. */
export type SqlValue = string | bigint | number | Uint8Array | null;

/** A row of a query's result. */
export type Row = readonly SqlValue[];

/** A platform's database. */
export interface Sql {
  /** Returns the rows of a statement that only reads. */
  query(statement: string, ...parameters: SqlValue[]): Row[];
  /** Returns how many rows a statement changed. */
  execute(statement: string, ...parameters: SqlValue[]): bigint;
}

/** What the rules need: the host's capabilities in a component (`host.ts`), and an SQLite file in tests. */
export interface Platform extends Sql {
  /** Returns the milliseconds since 1970. */
  now(): bigint;
  /** Returns a new ULID. */
  newId(): string;
  /** Writes one line. */
  log(level: 'info' | 'error', context: string, message: string): void;
}

/** A field that was understood and can't be accepted. */
export class Invalid extends Error {
  /** The path to the field in the contract's own names: `fields[0].value`. */
  readonly field: string;
  /** The rest of a sentence that the field begins. */
  readonly reason: string;

  constructor(field: string, reason: string) {
    super(`${field} ${reason}`);
    this.field = field;
    this.reason = reason;
  }
}

/** Why a statement failed. Its text is for the log, never for a caller. */
export class SqlError extends Error {
  /** Whether the same statement may succeed in a moment. */
  readonly isPassing: boolean;

  constructor(message: string, isPassing = false) {
    super(message);
    this.isPassing = isPassing;
  }
}

/** The longest idempotency or deduplication key, in bytes. */
const MAX_KEY = 128;

const encoder = new TextEncoder();

/** How long a text is in UTF-8. */
export function byteLength(text: string): number {
  return encoder.encode(text).length;
}

/** Refuses a text that is empty or longer than `max` bytes. */
export function checkText(field: string, text: string, max: number): void {
  if (text === '') throw new Invalid(field, 'must not be empty');
  if (byteLength(text) > max) throw new Invalid(field, `must not be longer than ${max} bytes`);
}

/** Refuses a key that can't name a request. */
export function checkKey(field: string, key: string): void {
  checkText(field, key, MAX_KEY);
}

/** A moment as contracts write it: RFC 3339 in UTC with milliseconds. */
export function timestamp(millis: bigint): string {
  return new Date(Number(millis)).toISOString();
}

/** Crockford's base 32, in order of value. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const RANDOM_BITS = 80n;

/**
 * The id of a moment (https://github.com/ulid/spec); the lowest 80 bits of `random` tell it from others of the same millisecond.
 */
export function ulid(millis: bigint, random: bigint): string {
  let value = (millis << RANDOM_BITS) | BigInt.asUintN(80, random);
  let id = '';
  for (let place = 0; place < 26; place += 1) {
    id = ALPHABET.charAt(Number(value & 31n)) + id;
    value >>= 5n;
  }
  return id;
}

/** Whether a text can be an id. */
export function isUlid(text: string): boolean {
  return ULID.test(text);
}

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;
/** Sorts behind every ULID. */
const END = '~';

/** A part of a list, and the cursor of the next part. */
export interface Cut<Item> {
  items: Item[];
  next: string | undefined;
}

/** Which part of a list is asked for, newest first. Lists are cut by the last id that was seen: a page costs the same wherever it starts. */
export class Page {
  readonly #limit: number;
  /** Items have ids below this. */
  readonly before: string;

  /** Reads a contract's `limit` and `after`. */
  constructor(limit: number | undefined = DEFAULT_LIMIT, after?: string) {
    if (limit < 1 || limit > MAX_LIMIT) throw new Invalid('limit', `must be between 1 and ${MAX_LIMIT}`);
    this.#limit = limit;
    this.before = after === undefined ? END : decode(after);
  }

  /** How many items to fetch: one more than are shown tells whether there is a next page. */
  get fetch(): number {
    return this.#limit + 1;
  }

  /** The page from what was fetched. */
  cut<Item extends { id: string }>(fetched: readonly Item[]): Cut<Item> {
    const items = fetched.slice(0, this.#limit);
    const last = items.at(-1);
    return { items, next: last && fetched.length > items.length ? encode(last.id) : undefined };
  }
}

function encode(id: string): string {
  return btoa(id).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

function decode(cursor: string): string {
  try {
    const id = atob(cursor.replaceAll('-', '+').replaceAll('_', '/'));
    // Each id has one cursor: spaces and stray bits, which `atob` overlooks, make another text.
    if (isUlid(id) && encode(id) === cursor) return id;
  } catch {
    // Not base 64 at all.
  }
  throw new Invalid('after', 'must be a cursor that a page had');
}
