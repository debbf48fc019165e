// What a language brings along, each by its own function.

class Moment extends Date {}

export const ambient = {
  uuids: (count) => Array.from({ length: count }, () => crypto.randomUUID()),
  random: () => Math.random(),
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  now: () => Date.now(),
  dates: () => [new Date().toISOString(), new Date(Date()).toISOString(), new Moment().toISOString(), new Date(0).toISOString()],
  elapsed: () => [performance.now(), performance.now()],
  async refused(name) {
    try {
      await REFUSED[name]();
      return 'it works';
    } catch (error) {
      return `${error.name}: ${error.message}`;
    }
  },
};

const REFUSED = {
  uuid: () => crypto.randomUUID(),
  random: () => Math.random(),
  bytes: () => crypto.getRandomValues(new Uint32Array(4)),
  now: () => Date.now(),
  date: () => new Date(),
  original: () => new (Object.getPrototypeOf(new Date(0)).constructor)(),
  elapsed: () => performance.now(),
  timer: () => setTimeout(() => {}, 1),
  key: () => crypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, true, ['sign']),
};
