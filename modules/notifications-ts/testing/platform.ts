// The platform over a real SQLite file with the module's own migrations, and a log that tests can read.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

import { SqlError, ulid } from '../src/common.ts';
import type { Platform } from '../src/common.ts';

const migrations = join(import.meta.dirname, '../migrations');

/** A platform for tests. */
export interface TestPlatform extends Platform {
  /** What was logged. */
  readonly logged: string[];
  /** Runs SQL past the module. */
  sabotage(sql: string): void;
  /** The one integer that a query returns. */
  count(sql: string): SQLOutputValue | undefined;
}

/** A new platform, gone when the test `t` ends. */
export function newPlatform(t: TestContext): TestPlatform {
  const folder = mkdtempSync(join(tmpdir(), 'notifications-'));
  const database = new DatabaseSync(join(folder, 'db'));
  t.after(() => {
    database.close();
    rmSync(folder, { recursive: true });
  });
  for (const file of readdirSync(migrations).sort()) database.exec(readFileSync(join(migrations, file), 'utf8'));
  let made = 0n;
  const logged: string[] = [];
  return {
    logged,
    sabotage: (sql) => database.exec(sql),
    count: (sql) => Object.values(database.prepare(sql).get() ?? {})[0],
    now: () => BigInt(Date.now()),
    // Sorts as it was made, within a millisecond too, so that tests can tell the order of a list.
    newId: () => ulid((made += 1n), 0n),
    log: (level, context, message) => {
      if (level === 'info') logged.push(`${context}: ${message}`);
    },
    query: (sql, ...parameters) =>
      told(() => database.prepare(sql).all(...(parameters as SQLInputValue[])).map((row) => Object.values(row))),
    execute: (sql, ...parameters) => told(() => BigInt(database.prepare(sql).run(...(parameters as SQLInputValue[])).changes)),
  };
}

function told<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    throw new SqlError(`storage: ${error instanceof Error ? error.message : error}`);
  }
}
