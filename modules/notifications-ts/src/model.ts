// How notifications are kept: the SQL between them and rows, and why a request is refused besides `Invalid`.

import { SqlError } from './common.ts';
import type { Page, Row, Sql } from './common.ts';

/** The key belongs to another notice. */
export class Conflict extends Error {}

/** The database doesn't answer now. */
export class Unavailable extends Error {}

/** The database failed. Its cause is for the log, never for a caller. */
export class Storage extends Error {
  declare readonly cause: SqlError;

  constructor(cause: SqlError) {
    super('the database failed', { cause });
  }
}

/** A value for one of a template's places. */
export interface Field {
  name: string;
  value: string;
}

/** A notification that was rendered and kept. */
export interface Kept {
  id: string;
  recipient: string;
  template: string;
  text: string;
  createdAt: string;
  /** What it was rendered from: see `fieldsToColumn`. */
  fields: string;
}

const COLUMNS = 'id, recipient, template, text, created_at, fields';

/** Keeps a record under its key. Returns false, and keeps nothing, where the key names one already. */
export function insert(sql: Sql, { id, recipient, template, text, createdAt, fields }: Kept, key: string): boolean {
  const changed = told(() =>
    sql.execute(
      `insert into notifications (id, recipient, template, text, created_at, fields, deduplication_key)
       values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
       on conflict (deduplication_key) do nothing`,
      id, recipient, template, text, createdAt, fields, key,
    ),
  );
  return changed === 1n;
}

/** The record that this key names; undefined where it names none. */
export function findByKey(sql: Sql, key: string): Kept | undefined {
  return told(() => sql.query(`select ${COLUMNS} from notifications where deduplication_key = ?1`, key).map(read)[0]);
}

/** What a recipient was told, newest first: as much as the page has to fetch. */
export function list(sql: Sql, recipient: string, page: Page): Kept[] {
  const statement = `select ${COLUMNS} from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3`;
  return told(() => sql.query(statement, recipient, page.before, BigInt(page.fetch)).map(read));
}

type Texts = readonly [string, string, string, string, string, string];

function areTexts(row: Row): row is Texts {
  return row.length === 6 && row.every((column) => typeof column === 'string');
}

function read(row: Row): Kept {
  // The values themselves stay out of the log.
  if (!areTexts(row)) throw new SqlError('storage: a row has other columns than were asked for');
  const [id, recipient, template, text, createdAt, fields] = row;
  return { id, recipient, template, text, createdAt, fields };
}

/** Tells what passes from what doesn't. */
function told<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof SqlError)) throw cause;
    if (cause.isPassing) throw new Unavailable('the database is busy');
    throw new Storage(cause);
  }
}

/**
 * Arranged fields as one text. Two lists of fields give the same only where they are the same: no value has a line break.
 */
export function fieldsToColumn(fields: readonly Field[]): string {
  return fields.map(({ name, value }) => `${name}=${value}\n`).join('');
}
