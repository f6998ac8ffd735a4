// RunTokens: where the client keeps the right to watch each run that it started: in memory, unless it is given a TokenManager.

/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/** A run token with its expiry (RFC 3339); null if that is unknown. */
export interface StoredToken {
  token: string;
  expiresAt: string | null;
}

/** The tokens of runs. `TokenManager` can keep them in a storage of yours, and refresh them. */
export interface RunTokens {
  /** Keep the run's token, in place of the one before. */
  set(runId: string, token: string, expiresAt?: string | null): MaybePromise<unknown>;
  /** The run's token while it is valid; null if there is none. */
  get(runId: string): MaybePromise<string | null>;
  /** A fresh token, whatever is kept. Null, and the kept one is dropped, if there is none to be had. */
  refresh(runId: string): MaybePromise<string | null>;
  /** Forget the run's token. */
  delete(runId: string): MaybePromise<unknown>;
}

/** Tokens in memory, which does not grow with those that have expired: they are swept out. None is ever refreshed. */
export function rememberedTokens(now = Date.now): RunTokens {
  const kept = new Map<string, StoredToken>();
  const sweep = (): void => {
    for (const [runId, stored] of kept) if (isExpired(stored, now())) kept.delete(runId);
  };
  const forget = (runId: string): null => {
    kept.delete(runId);
    return null;
  };
  return {
    set(runId, token, expiresAt = null) {
      sweep();
      kept.set(runId, { token, expiresAt });
    },
    get(runId) {
      sweep();
      return kept.get(runId)?.token ?? null;
    },
    refresh: forget,
    delete: forget,
  };
}

export function isExpired({ expiresAt }: StoredToken, now: number): boolean {
  return expiresAt !== null && Date.parse(expiresAt) <= now;
}
