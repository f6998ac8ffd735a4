// useNotify: sends events to runs.

import { useCallback, useMemo } from "react";
import type { AccessToken, EventPayload, Notified, NotifyOptions, RequestOptions } from "@stepflow/client";
import { useStepflowClient } from "./provider.js";
import { useAttempt } from "./use-attempt.js";
import { handled } from "./use-trigger.js";

export interface UseNotifyOptions {
  /** To this run only; with a run token that is the only one it may reach anyway. */
  runId?: string | undefined;
  /** The run's token, where neither the client's credential nor its `tokens` reach. */
  accessToken?: AccessToken | undefined;
}

export interface NotifyState {
  /** Send an event; resolves when it is durable, rejects if it could not be sent (`error` tells it, too). */
  notify: <E extends string>(
    eventId: E,
    payload: EventPayload<E>,
    options?: NotifyOptions & RequestOptions,
  ) => Promise<Notified>;
  /** Whether the latest event is on its way. */
  isNotifying: boolean;
  /** The answer to the last event that was sent. */
  notified: Notified | undefined;
  error: Error | undefined;
  /** Forget `notified` and `error`. */
  reset: () => void;
}

/** Sends events. Sent twice, an event counts twice, unless you give it an `id` or send it `once`. */
export function useNotify({ runId, accessToken }: UseNotifyOptions = {}): NotifyState {
  const client = useStepflowClient();
  const [{ isPending, data, error }, begin, reset] = useAttempt<Notified>();
  const notify = useCallback(
    <E extends string>(
      eventId: E,
      payload: EventPayload<E>,
      options: NotifyOptions & RequestOptions = {},
    ): Promise<Notified> =>
      handled(begin(client.notify(eventId, payload, { runId, accessToken, ...options }))),
    [client, runId, accessToken, begin],
  );
  return useMemo(
    () => ({ notify, isNotifying: isPending, notified: data, error, reset }),
    [notify, isPending, data, error, reset],
  );
}
