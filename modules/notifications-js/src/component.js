// The component: the contract's functions over the service, and nothing else.

import { Invalid } from './common.js';
import { host } from './host.js';
import { Conflict, Storage, Unavailable } from './model.js';
import { Notifications } from './service.js';

const service = new Notifications(host);

export const notifications = {
  notify: (notice, deduplicationKey) => answer(() => service.notify(notice, deduplicationKey)),
  listNotifications: (recipient, limit, after) => answer(() => service.list(recipient, limit, after)),
};

/** Runs the rules; what is thrown with a `payload` becomes the contract's error. */
function answer(act) {
  try {
    return act();
  } catch (error) {
    throw Object.assign(error, { payload: toContract(error) });
  }
}

/** What a caller may know. The cause of a failing database is logged here and goes no further. */
function toContract(error) {
  if (error instanceof Invalid) return { tag: 'invalid', val: { field: error.field, reason: error.reason } };
  if (error instanceof Conflict) return { tag: 'conflict', val: error.message };
  if (error instanceof Unavailable) return { tag: 'unavailable', val: error.message };
  if (error instanceof Storage) {
    host.log('error', 'sql', error.cause.message);
    return { tag: 'storage', val: error.message };
  }
  // A mistake of this module's own ends the call; what surrounds the module reports it.
  throw error;
}
