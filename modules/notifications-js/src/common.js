// What every contract of the shop shares: ids, paging, time, and how a field is checked and refused. No business rule is here.
//
// The rules are written against a platform, which is the host's capabilities in a component (`host.js`) and an SQLite file in tests:
//   query(statement, ...parameters)    rows of a statement that only reads, each a list; parameters are strings and bigints
//   execute(statement, ...parameters)  how many rows a statement changed, as a bigint
//   now()                              milliseconds since 1970, as a bigint
//   newId()                            a new ULID
//   log(level, context, message)       writes one line

/** A field that was understood and can't be accepted. */
export class Invalid extends Error {
  /**
   * @param {string} field the path to it in the contract's own names: `fields[0].value`
   * @param {string} reason the rest of a sentence that the field begins
   */
  constructor(field, reason) {
    super(`${field} ${reason}`);
    this.field = field;
    this.reason = reason;
  }
}

/** Why a statement failed. Its text is for the log, never for a caller. */
export class SqlError extends Error {
  /** @param {boolean} isPassing whether the same statement may succeed in a moment */
  constructor(message, isPassing = false) {
    super(message);
    this.isPassing = isPassing;
  }
}

/** The longest idempotency or deduplication key, in bytes. */
const MAX_KEY = 128;

const encoder = new TextEncoder();

/** How long a text is in UTF-8. */
export function byteLength(text) {
  return encoder.encode(text).length;
}

/** Refuses a text that is empty or longer than `max` bytes. */
export function checkText(field, text, max) {
  if (text === '') throw new Invalid(field, 'must not be empty');
  if (byteLength(text) > max) throw new Invalid(field, `must not be longer than ${max} bytes`);
}

/** Refuses a key that can't name a request. */
export function checkKey(field, key) {
  checkText(field, key, MAX_KEY);
}

/** A moment as contracts write it: RFC 3339 in UTC with milliseconds. */
export function timestamp(millis) {
  return new Date(Number(millis)).toISOString();
}

/** Crockford's base 32, in order of value. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const RANDOM_BITS = 80n;

/**
 * The id of a moment (https://github.com/ulid/spec); the lowest 80 bits of `random` tell it from others of the same millisecond.
 * @param {bigint} millis
 * @param {bigint} random
 */
export function ulid(millis, random) {
  let value = (millis << RANDOM_BITS) | BigInt.asUintN(80, random);
  let id = '';
  for (let place = 0; place < 26; place += 1) {
    id = ALPHABET[Number(value & 31n)] + id;
    value >>= 5n;
  }
  return id;
}

/** Whether a text can be an id. */
export function isUlid(text) {
  return ULID.test(text);
}

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;
/** Sorts behind every ULID. */
const END = '~';

/** Which part of a list is asked for, newest first. Lists are cut by the last id that was seen: a page costs the same wherever it starts. */
export class Page {
  #limit;

  /** Reads a contract's `limit` and `after`. */
  constructor(limit = DEFAULT_LIMIT, after = undefined) {
    if (limit < 1 || limit > MAX_LIMIT) throw new Invalid('limit', `must be between 1 and ${MAX_LIMIT}`);
    this.#limit = limit;
    /** Items have ids below this. */
    this.before = after === undefined ? END : decode(after);
  }

  /** How many items to fetch: one more than are shown tells whether there is a next page. */
  get fetch() {
    return this.#limit + 1;
  }

  /** The page from what was fetched. */
  cut(fetched) {
    const items = fetched.slice(0, this.#limit);
    const next = fetched.length > items.length ? encode(items.at(-1).id) : undefined;
    return { items, next };
  }
}

function encode(id) {
  return btoa(id).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

function decode(cursor) {
  try {
    const id = atob(cursor.replaceAll('-', '+').replaceAll('_', '/'));
    // Each id has one cursor: spaces and stray bits, which `atob` overlooks, make another text.
    if (isUlid(id) && encode(id) === cursor) return id;
  } catch {
    // Not base 64 at all.
  }
  throw new Invalid('after', 'must be a cursor that a page had');
}
