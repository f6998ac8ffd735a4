// Time: pauses that end early when nobody waits any more, and limits on how long something may take.

/** Milliseconds of a clock that nobody sets. */
export function now(): number {
  return performance.now();
}

/** Resolves after so many milliseconds; rejects with the signal's reason as soon as it is aborted. */
export type Pause = (milliseconds: number, signal?: AbortSignal) => Promise<void>;

export const pause: Pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(reasonOf(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });

/** Why a signal was aborted; environments without reasons get the customary error. */
export function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  if (reason instanceof Error || (typeof reason === "object" && reason !== null)) return reason as Error;
  const error = new Error(typeof reason === "string" ? reason : "the operation was aborted");
  error.name = "AbortError";
  return error;
}

/**
 * A signal for one piece of work: aborted with the caller's, or when `limit` milliseconds pass without `rest()`.
 * `end()` gives back what it holds; `timedOut` tells the two apart.
 */
export class Deadline {
  timedOut = false;
  /** Whether the caller gave up. */
  get abandoned(): boolean {
    return this.outer?.aborted === true;
  }

  private readonly controller = new AbortController();
  private readonly stop = (): void => {
    this.controller.abort(reasonOf(this.outer));
  };
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly outer: AbortSignal | undefined) {
    if (outer?.aborted) this.stop();
    else outer?.addEventListener("abort", this.stop, { once: true });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** From now on, so many milliseconds are left. */
  within(milliseconds: number): void {
    this.rest();
    if (milliseconds === Infinity) return;
    this.timer = setTimeout(
      () => {
        this.timedOut = true;
        this.controller.abort();
      },
      Math.min(milliseconds, 2 ** 31 - 1),
    );
  }

  /** No limit, for now. */
  rest(): void {
    clearTimeout(this.timer);
  }

  /** Over: nothing is aborted by it any more, unless `abort`: then whatever still goes on is. */
  end(abort = false): void {
    this.rest();
    this.outer?.removeEventListener("abort", this.stop);
    if (abort) this.controller.abort();
  }
}
