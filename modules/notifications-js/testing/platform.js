// The platform over a real SQLite file with the module's own migrations, and a log that tests can read.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sqlite from 'node-sqlite3-wasm';

import { SqlError, ulid } from '../src/common.js';

const migrations = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../migrations');

/** A new platform, gone when the test `t` ends. */
export function newPlatform(t) {
  const folder = mkdtempSync(join(tmpdir(), 'notifications-'));
  const database = new sqlite.Database(join(folder, 'db'));
  t.after(() => {
    database.close();
    rmSync(folder, { recursive: true });
  });
  for (const file of readdirSync(migrations).sort()) database.exec(readFileSync(join(migrations, file), 'utf8'));
  let made = 0n;
  const logged = [];
  return {
    logged,
    /** Runs SQL past the module. */
    sabotage: (sql) => database.exec(sql),
    /** The one integer that a query returns. */
    count: (sql) => Object.values(database.get(sql))[0],
    now: () => BigInt(Date.now()),
    // Sorts as it was made, within a millisecond too, so that tests can tell the order of a list.
    newId: () => ulid((made += 1n), 0n),
    log: (level, context, message) => level === 'info' && logged.push(`${context}: ${message}`),
    query: (sql, ...parameters) => told(() => database.all(sql, parameters).map((row) => Object.values(row))),
    execute: (sql, ...parameters) => told(() => BigInt(database.run(sql, parameters).changes)),
  };
}

function told(act) {
  try {
    return act();
  } catch (error) {
    throw new SqlError(`storage: ${error.message}`);
  }
}
