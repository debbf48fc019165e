// The component: the contract's functions over the service, and nothing else.

import type * as contract from 'shop:notifications/notifications@1.0.0';

import { Invalid } from './common.ts';
import type { Cut } from './common.ts';
import { host } from './host.ts';
import { Conflict, Storage, Unavailable } from './model.ts';
import { Notifications } from './service.ts';
import type { Notification } from './service.ts';

const service = new Notifications(host);

export const notifications: typeof contract = {
  notify: (notice, deduplicationKey) => answer(() => service.notify(notice, deduplicationKey)),
  listNotifications: (recipient, limit, after) => answer(() => page(service.list(recipient, limit, after))),
};

function page({ items, next }: Cut<Notification>): contract.NotificationPage {
  return next === undefined ? { items } : { items, next };
}

/** Runs the rules; what is thrown with a `payload` becomes the contract's error. */
function answer<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    const payload = toContract(error);
    throw payload ? Object.assign(error as Error, { payload }) : error;
  }
}

/** What a caller may know; undefined for a mistake of this module's own, which ends the call. */
function toContract(error: unknown): contract.Error | undefined {
  if (error instanceof Invalid) return { tag: 'invalid', val: { field: error.field, reason: error.reason } };
  if (error instanceof Conflict) return { tag: 'conflict', val: error.message };
  if (error instanceof Unavailable) return { tag: 'unavailable', val: error.message };
  if (error instanceof Storage) {
    // The cause of a failing database is logged here and goes no further.
    host.log('error', 'sql', error.cause.message);
    return { tag: 'storage', val: error.message };
  }
  return undefined;
}
