// useOfflineQueue: the app's queue in components; useQueuedTrigger and useQueuedNotify add to it.

import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useMemo,
  useState,
  useSyncExternalStore,
  type ReactNode,
} from "react";
import type { EventPayload, InputArguments, Notified, TriggeredRun, WorkflowId } from "@stepflow/client";
import type { OfflineQueue, OfflineQueueState, Queued } from "./offline-queue.js";
import type { QueuedNotify, QueuedTrigger } from "./queued-calls.js";

const Queue = createContext<OfflineQueue | undefined>(undefined);

/** Gives the hooks below it their queue. It is made once, outside of components. */
export function OfflineQueueProvider({
  queue,
  children,
}: {
  queue: OfflineQueue;
  children?: ReactNode;
}): ReactNode {
  return createElement(Queue.Provider, { value: queue }, children);
}

/** What waits, what was refused, and what can be done about it. */
export interface OfflineQueueView extends OfflineQueueState {
  flush: () => Promise<void>;
  discard: (key: string) => Promise<void>;
  clear: () => Promise<void>;
}

/** The app's queue, live. */
export function useOfflineQueue(): OfflineQueueView {
  const queue = useQueue();
  const state = useSyncExternalStore(
    queue.subscribe,
    () => queue.state,
    () => queue.state,
  );
  return useMemo(
    () => ({
      ...state,
      flush: () => queue.flush(),
      discard: (key) => queue.discard(key),
      clear: () => queue.clear(),
    }),
    [queue, state],
  );
}

/** How the call goes that was queued last: `isKept` on the phone, `isPending` until the server has answered. */
interface QueuedState {
  isPending: boolean;
  error: Error | undefined;
}

export interface QueuedTriggerState<W extends WorkflowId> extends QueuedState {
  /** Keep a trigger, to be sent when its turn comes. */
  trigger: (...input: InputArguments<W, QueuedTrigger["options"]>) => Promise<Queued<TriggeredRun<W>>>;
  /** The run that was started, once the server has said so; what `useRun` takes. */
  run: TriggeredRun<W> | undefined;
}

/** Starts runs of the workflow, with or without a network. */
export function useQueuedTrigger<W extends WorkflowId>(workflowId: W): QueuedTriggerState<W> {
  const queue = useQueue();
  const [{ answer, ...state }, begin] = useLatest<TriggeredRun<W>>();
  const trigger = useCallback(
    (...input: InputArguments<W, QueuedTrigger["options"]>) => begin(queue.trigger(workflowId, ...input)),
    [queue, workflowId, begin],
  );
  return { ...state, trigger, run: answer };
}

export interface QueuedNotifyState extends QueuedState {
  /** Keep an event, to be sent when its turn comes. */
  notify: <E extends string>(
    eventId: E,
    payload: EventPayload<E>,
    options?: QueuedNotify["options"],
  ) => Promise<Queued<Notified>>;
  /** The server's answer, once there is one. */
  notified: Notified | undefined;
}

/** Sends events, with or without a network. */
export function useQueuedNotify(): QueuedNotifyState {
  const queue = useQueue();
  const [{ answer, ...state }, begin] = useLatest<Notified>();
  const notify = useCallback(
    <E extends string>(eventId: E, payload: EventPayload<E>, options?: QueuedNotify["options"]) =>
      begin(queue.notify(eventId, payload, options)),
    [queue, begin],
  );
  return { ...state, notify, notified: answer };
}

function useQueue(): OfflineQueue {
  const queue = useContext(Queue);
  if (!queue) {
    throw new Error(
      "there is no <OfflineQueueProvider queue={…}> above this component; put one around your app",
    );
  }
  return queue;
}

interface Latest<Answer> extends QueuedState {
  answer: Answer | undefined;
}

function useLatest<Answer>(): [Latest<Answer>, (adding: Promise<Queued<Answer>>) => Promise<Queued<Answer>>] {
  const [latest, setLatest] = useState<Latest<Answer> & { of?: Promise<Queued<Answer>> }>({
    isPending: false,
    answer: undefined,
    error: undefined,
  });
  const begin = useCallback((adding: Promise<Queued<Answer>>): Promise<Queued<Answer>> => {
    setLatest({ isPending: true, answer: undefined, error: undefined, of: adding });
    const end = (change: Partial<Latest<Answer>>): void => {
      setLatest((before) => (before.of === adding ? { ...before, isPending: false, ...change } : before));
    };
    adding
      .then(({ answer }) => answer)
      .then(
        (answer) => {
          end({ answer });
        },
        (error: unknown) => {
          end({ error: error instanceof Error ? error : new Error(String(error)) });
        },
      );
    return adding;
  }, []);
  const { isPending, answer, error } = latest;
  return [useMemo(() => ({ isPending, answer, error }), [isPending, answer, error]), begin];
}
