// useApprovals: what waits for a decision, asked for when the list is shown, and again when it is pulled down.
import { useCallback, useEffect, useState } from "react";
import { approvals, type Approval } from "./office";

export interface Approvals {
  items: Approval[];
  isLoading: boolean;
  error: string | undefined;
  refresh: () => void;
}

export function useApprovals(): Approvals {
  const [asked, setAsked] = useState(1);
  const [state, setState] = useState<{ items: Approval[]; error?: string; answered: number }>({
    items: [],
    answered: 0,
  });
  useEffect(() => {
    let isWanted = true;
    approvals().then(
      (items) => {
        if (isWanted) setState({ items, answered: asked });
      },
      (error: unknown) => {
        if (isWanted) setState(({ items }) => ({ items, error: String(error), answered: asked }));
      },
    );
    return () => {
      isWanted = false;
    };
  }, [asked]);
  const refresh = useCallback(() => {
    setAsked((times) => times + 1);
  }, []);
  return { items: state.items, error: state.error, isLoading: state.answered !== asked, refresh };
}
