// Picture: the run after an event, with what it waits for among its steps, as the server shows it.

import { applyEvent, type Run, type Step, type StreamEvent, type Wait } from "@stepflow/client";

/** Children are steps already: what tells of their end is no event that anybody else sends. */
const OF_CHILDREN = "run/";

/** Pure. Undefined as long as there has been no snapshot. */
export function afterEvent(run: Run | undefined, event: StreamEvent): Run | undefined {
  if (event.type === "run") return event.run;
  if (!run) return undefined;
  const next = applyEvent(run, event);
  if (next.waits === run.waits) return next;
  // The server tells of waits where they begin and end; in a snapshot each is a step as well, the last ones.
  const steps = next.steps.filter(({ status }) => status !== "waiting");
  const awaited = next.waits.filter(({ eventId }) => !eventId.startsWith(OF_CHILDREN));
  return { ...next, steps: [...steps, ...awaited.map(waitingStep)] };
}

function waitingStep({ eventId, name }: Wait): Step {
  return {
    key: `${eventId}~waiting`,
    name: name === "" ? eventId : name,
    kind: "event",
    status: "waiting",
    result: null,
    error: null,
    attempts: 1,
    startedAt: null,
    endedAt: null,
  };
}
