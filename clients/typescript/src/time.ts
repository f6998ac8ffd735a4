// Time: pauses that end early when nobody waits any more, and limits on how long something may take.

/** Milliseconds of a clock that nobody sets. */
export const now = (): number => performance.now();

/** Resolves after so many milliseconds; rejects with the signal's reason as soon as it is aborted. */
export type Pause = (milliseconds: number, signal?: AbortSignal) => Promise<void>;

export const pause: Pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      unlink();
      resolve();
    }, milliseconds);
    const unlink = linked(signal, () => {
      clearTimeout(timer);
      reject(reasonOf(signal));
    });
  });

/** Calls `stop` when the signal is aborted, now if it is; what it returns unlinks them. */
export function linked(signal: AbortSignal | undefined, stop: () => void): () => void {
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop);
  return () => signal?.removeEventListener("abort", stop);
}

/** Why a signal was aborted; environments without reasons get the customary error. */
export function reasonOf(signal: AbortSignal | undefined): Error {
  const customary = Object.assign(new Error("the operation was aborted"), { name: "AbortError" });
  return (signal?.reason as Error | undefined) ?? customary;
}

/** A piece of work's limits: its signal is aborted with the caller's, or when the time is up. */
export interface Deadline {
  signal: AbortSignal;
  /** From now on so many milliseconds are left; `Infinity`: no limit. */
  within: (milliseconds: number) => void;
  /** Over: whatever still goes on is aborted, and nothing is held any more. */
  end: () => void;
}

export function deadlineFor(outer: AbortSignal | undefined): Deadline {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const abort = (): void => {
    controller.abort();
  };
  const unlink = linked(outer, abort);
  return {
    signal: controller.signal,
    within(milliseconds) {
      clearTimeout(timer);
      if (milliseconds >= 2 ** 31) return; // longer than a timer can be: as good as no limit
      timer = setTimeout(() => {
        controller.abort(new Error("it took too long"));
      }, milliseconds);
    },
    end() {
      clearTimeout(timer);
      unlink();
      abort();
    },
  };
}
