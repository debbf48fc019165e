// How notifications are kept: the SQL between them and rows, and why a request is refused besides `Invalid`.

import { SqlError } from './common.js';

/** The key belongs to another notice. */
export class Conflict extends Error {}

/** The database doesn't answer now. */
export class Unavailable extends Error {}

/** The database failed. Its cause is for the log, never for a caller. */
export class Storage extends Error {}

const COLUMNS = 'id, recipient, template, text, created_at, fields';

/** Keeps a record under its key. Returns false, and keeps nothing, where the key names one already. */
export function insert(sql, { id, recipient, template, text, createdAt, fields }, key) {
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
export function findByKey(sql, key) {
  return told(() => sql.query(`select ${COLUMNS} from notifications where deduplication_key = ?1`, key).map(read)[0]);
}

/** What a recipient was told, newest first: as much as the page has to fetch. */
export function list(sql, recipient, page) {
  const statement = `select ${COLUMNS} from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3`;
  return told(() => sql.query(statement, recipient, page.before, BigInt(page.fetch)).map(read));
}

function read(row) {
  // The value itself stays out of the log.
  if (row.length !== 6) throw new SqlError('storage: a row has another number of columns than was asked for');
  if (row.some((column) => typeof column !== 'string')) {
    throw new SqlError('storage: a column that holds a text holds something else');
  }
  const [id, recipient, template, text, createdAt, fields] = row;
  return { id, recipient, template, text, createdAt, fields };
}

/** Tells what passes from what doesn't. */
function told(act) {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof SqlError)) throw cause;
    if (cause.isPassing) throw new Unavailable('the database is busy');
    throw new Storage('the database failed', { cause });
  }
}

/**
 * Arranged fields as one text. Two lists of fields give the same only where they are the same: no value has a line break.
 */
export function fieldsToColumn(fields) {
  return fields.map(({ name, value }) => `${name}=${value}\n`).join('');
}
