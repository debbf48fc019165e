/** An error of the module's own. */
export class Refusal extends Error {
  name = 'Refusal';
}

export function deeper() {
  throw new Refusal('from another file');
}
