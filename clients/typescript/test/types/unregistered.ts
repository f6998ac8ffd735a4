// What a program's types accept and refuse while nothing is registered. Compiled, never run; see registered.ts.

import { StepflowClient, type RunId } from "@stepflow/client";

export async function use(client: StepflowClient): Promise<unknown> {
  const { runId } = await client.trigger("anything", { at: ["all"] });
  await client.trigger("anything");
  const text: string = runId;
  const result: unknown = await client.waitForResult(runId);
  const output: unknown = (await client.getRun(text)).output;
  await client.notify("any/event", 1);
  // @ts-expect-error -- a workflow's id is text
  await client.trigger(5);
  // @ts-expect-error -- an output is unknown until it is registered
  const wrong: string = await client.waitForResult(runId);
  const made: RunId = runId;
  return [result, output, wrong, made];
}

new StepflowClient({ baseUrl: "/stepflow", publicApiKey: "sf_pub_1" });
// @ts-expect-error -- it has to be told where the server is
new StepflowClient({ apiKey: "sf_1" });
