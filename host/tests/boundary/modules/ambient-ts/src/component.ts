// What a language brings along, each by its own function.

import type * as contract from 'test:ambient/ambient@1.0.0';

class Moment extends Date {}

export const ambient: typeof contract = {
  uuids: (count) => Array.from({ length: count }, () => crypto.randomUUID()),
  random: () => Math.random(),
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  now: () => Date.now(),
  dates: () => [new Date().toISOString(), new Date(Date()).toISOString(), new Moment().toISOString(), new Date(0).toISOString()],
  elapsed: () => [performance.now(), performance.now()],
  refused: (name) => name,
};
