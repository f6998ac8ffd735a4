// useAttempt: something asked of the server by a component, and how that goes.

import { useCallback, useEffect, useReducer, useRef } from "react";

/** How the latest attempt goes. `data` is what the last successful one answered. */
export interface Attempt<T> {
  isPending: boolean;
  data: T | undefined;
  error: Error | undefined;
}

const NOTHING = { isPending: false, data: undefined, error: undefined };

/**
 * The attempt's state; a function that begins one and answers as the work does; and one that forgets it. Of attempts that overlap only
 * the latest is shown. A component that is gone is not told; its work goes on.
 */
export function useAttempt<T>(): [Attempt<T>, (work: Promise<T>) => Promise<T>, () => void] {
  const [state, change] = useReducer(
    (before: Attempt<T>, next: Partial<Attempt<T>>): Attempt<T> => ({ ...before, ...next }),
    NOTHING,
  );
  const number = useRef(0);
  const mounted = useRef(false);
  useEffect(() => {
    mounted.current = true;
    return () => {
      mounted.current = false;
    };
  }, []);
  const begin = useCallback(async (work: Promise<T>): Promise<T> => {
    const own = ++number.current;
    const tell = (next: Partial<Attempt<T>>): void => {
      if (mounted.current && own === number.current) change(next);
    };
    tell({ isPending: true, error: undefined });
    try {
      const data = await work;
      tell({ isPending: false, data });
      return data;
    } catch (error) {
      tell({ isPending: false, error: error instanceof Error ? error : new Error(String(error)) });
      throw error;
    }
  }, []);
  const reset = useCallback(() => {
    number.current++;
    if (mounted.current) change(NOTHING);
  }, []);
  return [state, begin, reset];
}
