// The notifications module: tells customers what happened, each thing once.
//
// The rules are here, the texts in `template.ts`, the SQL in `model.ts`; `component.ts` makes it a component. The rules know no host and
// no HTTP. The same module in Rust stands in `../notifications`: both must pass `wit/notifications/suite`.

import { Page, checkKey, checkText, timestamp } from './common.ts';
import type { Cut, Platform } from './common.ts';
import { Conflict, fieldsToColumn, findByKey, insert, list } from './model.ts';
import type { Field, Kept } from './model.ts';
import { Template } from './template.ts';

/** What somebody is to be told. */
export interface Notice {
  recipient: string;
  /** The template's name. */
  template: string;
  /** A value for each of its places. */
  fields: readonly Field[];
}

/** A notification as callers see it. */
export type Notification = Omit<Kept, 'fields'>;

/** The longest recipient, in bytes. */
const MAX_RECIPIENT = 128;

/** Notifications that are kept in the platform's database. */
export class Notifications {
  readonly #platform: Platform;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** Renders, keeps and logs a notice. The key names it for good: the same notice again returns what it made. */
  notify(notice: Notice, key: string): Notification {
    checkText('recipient', notice.recipient, MAX_RECIPIENT);
    const template = Template.find(notice.template);
    const fields = template.arrange(notice.fields);
    checkKey('deduplication-key', key);
    const wanted: Kept = {
      id: this.#platform.newId(),
      recipient: notice.recipient,
      template: notice.template,
      text: template.render(fields),
      createdAt: timestamp(this.#platform.now()),
      fields: fieldsToColumn(fields),
    };
    if (!insert(this.#platform, wanted, key)) return this.#known(wanted, key);
    this.#platform.log('info', 'notifications', `to ${quoted(wanted.recipient)}: ${wanted.text}`);
    return notification(wanted);
  }

  /** What a recipient was told, newest first. */
  list(recipient: string, limit?: number, after?: string): Cut<Notification> {
    checkText('recipient', recipient, MAX_RECIPIENT);
    const page = new Page(limit, after);
    return page.cut(list(this.#platform, recipient, page).map(notification));
  }

  /** What the key names already, where the same was to be said. By its fields: the template's text may have changed since. */
  #known(wanted: Kept, key: string): Notification {
    const known = findByKey(this.#platform, key);
    const isWanted =
      known?.recipient === wanted.recipient && known.template === wanted.template && known.fields === wanted.fields;
    if (!isWanted) throw new Conflict('the deduplication key belongs to another notice');
    return notification(known);
  }
}

function notification({ id, recipient, template, text, createdAt }: Kept): Notification {
  return { id, recipient, template, text, createdAt };
}

const ESCAPES: Readonly<Record<string, string>> = { '\t': '\\t', '\r': '\\r', '\n': '\\n', '"': '\\"', '\\': '\\\\' };

/** Quotes, control characters, and those that end a line, hide or turn what stands after them. The engine knows no `\p{…}`. */
const ESCAPED = /["\\\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** A text in quotes, as every build's log has it: one piece of one line, whatever it holds. */
export function quoted(text: string): string {
  return `"${text.replace(ESCAPED, (char) => ESCAPES[char] ?? `\\u{${char.charCodeAt(0).toString(16)}}`)}"`;
}
