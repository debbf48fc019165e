/** An error of the module's own. */
export class Refusal extends Error {
  override readonly name: string = 'Refusal';
}

export function deeper<Result>(words: string): Result {
  throw new Refusal(words);
}
