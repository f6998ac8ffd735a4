// The tour: all that a program does with @stepflow/client, against a real server, told as plain facts. The same in every runtime, so it
// knows no more of where it runs than the client may: web standards.

import { InputError, StepflowClient, UnknownWorkflowError } from "@stepflow/client";

/** `direct` leads to the server, `cut` through a proxy that cuts answers, `watched` through one that sees what is hung up. */
export async function tour({ direct, cut, watched, apiKey, name }) {
  const at = (baseUrl) => new StepflowClient({ baseUrl, apiKey, pause: shortPause });
  const client = at(direct);
  return {
    run: await startedAndRead(client),
    subscription: await subscribed(client),
    streams: [await ended(client, at(cut)), await live(client, at(cut), name)],
    aborted: await aborted(client, at(watched), name),
    errors: await errors(client),
  };
}

/** What is waited for is never a pause, but an answer. */
function shortPause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, Math.min(milliseconds, 20)));
}

async function startedAndRead(client) {
  const { runId, created } = await client.trigger("order", { id: "é ☃", lines: [1, 2, 3] });
  const result = await client.waitForResult(runId);
  const { status, input } = await client.getRun(runId);
  return { created, result, status, input };
}

async function subscribed(client) {
  const { runId } = await client.trigger("talk", 5);
  const steps = [];
  const result = await new Promise((resolve, reject) => {
    const onStepComplete = (step) => steps.push(step.result);
    client.subscribeToRun(runId, { onStepComplete, onComplete: resolve, onError: reject });
  });
  return { steps, result };
}

/** A run that is over, followed from its first event while the connection is cut; and what its journal is. */
async function ended(client, shaken) {
  const { runId } = await client.trigger("talk", 30);
  await client.waitForRun(runId);
  return { followed: await journal(shaken, runId), whole: await journal(client, runId) };
}

/** The same of a run that goes on while it is followed, since the follower sends it what it waits for. */
async function live(client, shaken, name) {
  const { runId } = await client.trigger("two-waits", `${name}/live`);
  const woken = [];
  const followed = await journal(shaken, runId, async () => {
    const event = `${name}/live/${woken.length + 1}`;
    woken.push((await client.notify(event, "☃")).woken);
  });
  return { followed, whole: await journal(client, runId), woken };
}

async function journal(client, runId, onSuspended) {
  const events = [];
  for await (const event of client.streamRun(runId, { lastEventId: "0" })) {
    if (event.type === "run:suspended") await onSuspended?.();
    if (!["step:start", "step:retry", "log"].includes(event.type)) events.push(event);
  }
  return events;
}

/** A request that the server holds and a stream, given up while both are open. Whoever sees the connections says when, by events. */
async function aborted(client, watched, name) {
  const gates = await Promise.all(
    ["open", "closed"].map(async (gate) => (await client.trigger("wait", `${name}/${gate}`)).runId),
  );
  const { runId } = await client.trigger("wait", `${name}/never`);
  const stop = new AbortController();
  const given = { signal: stop.signal };
  const endings = [watched.waitForRun(runId, given), exhausted(watched.streamRun(runId, given))].map((work) =>
    work.then(
      () => "it ended",
      (error) => error.message,
    ),
  );
  await client.waitForResult(gates[0]);
  stop.abort(new Error("no longer wanted"));
  const told = await Promise.all(endings);
  await client.waitForResult(gates[1]);
  await client.cancelRun(runId, { force: true });
  return told;
}

async function exhausted(events) {
  for await (const event of events) void event;
}

async function errors(client) {
  const refusal = await client.trigger("ordr", null).catch((error) => error);
  const misfit = await client.trigger("order", { id: "a", lines: ["x"] }).catch((error) => error);
  const { name, type, status, nearest } = refusal;
  return {
    unknown: { isOne: refusal instanceof UnknownWorkflowError, name, type, status, nearest },
    misfit: { isOne: misfit instanceof InputError, name: misfit.name, path: misfit.path },
  };
}
