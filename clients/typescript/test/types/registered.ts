// What a program's types accept and refuse once its workflows are registered. It is compiled, never run: each line below a
// `@ts-expect-error` has to be an error, all others have to be none.

import { StepflowClient, type EventPayload, type InputOf, type OutputOf, type Run } from "@stepflow/client";

declare module "@stepflow/client" {
  interface Register {
    workflows: {
      checkout: { input: { total: number }; output: { receipt: string } };
      "clean-up": { input: null; output: number };
      report: { input: number | undefined; output: string[] };
    };
    events: {
      [id: `shipped/${string}`]: { carrier: string };
      [id: `paid/${string}/${string}`]: number;
      stop: null;
    };
  }
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ["these types differ", A, B]): void {
  // only its type is of use
}

same<InputOf<"checkout">, { total: number }>();
same<OutputOf<"report">, string[]>();
same<EventPayload<"shipped/17">, { carrier: string }>();
same<EventPayload<"paid/1/2">, number>();
same<EventPayload<"stop">, null>();
same<EventPayload<"unheard-of">, unknown>();
same<EventPayload<string>, unknown>();

export async function use(client: StepflowClient, someId: string): Promise<void> {
  const run = await client.trigger("checkout", { total: 1 }, { tags: { a: "b" } });
  await client.trigger("clean-up");
  await client.trigger("report");
  await client.trigger("report", 3);
  // @ts-expect-error -- no such workflow
  await client.trigger("check-out", { total: 1 });
  // @ts-expect-error -- its input is missing
  await client.trigger("checkout");
  // @ts-expect-error -- its input is another
  await client.trigger("checkout", { total: "1" });

  const result = await client.waitForResult(run.runId);
  same<typeof result, { receipt: string }>();
  const found = await client.getRun(run.runId);
  same<typeof found, Run<"checkout">>();
  same<typeof found.output, { receipt: string } | null>();

  const any = await client.getRun(someId);
  if (any.workflowId === "report") same<typeof any.output, string[] | null>();
  const told = await client.getRun<"clean-up">(someId);
  same<typeof told.output, number | null>();

  for await (const event of client.stream("report", 1)) {
    if (event.type === "execution:complete") same<typeof event.data, string[]>();
    if (event.type === "step:complete") same<typeof event.stepName, string>();
    // @ts-expect-error -- no such event
    if (event.type === "step:completed") return;
  }

  const unsubscribe = client.subscribeToRun(run.runId, {
    accessToken: run.publicAccessToken ?? "",
    onComplete(receipt) {
      same<typeof receipt, { receipt: string }>();
    },
  });
  same<typeof unsubscribe, () => void>();

  await client.notify("shipped/17", { carrier: "post" });
  await client.notify(`shipped/${someId}`, { carrier: "post" });
  await client.notify("unheard-of", [1, 2]);
  // @ts-expect-error -- another payload
  await client.notify("shipped/17", { carrier: 5 });
  // @ts-expect-error -- another payload
  await client.notify(`paid/${someId}/b`, "5");
}
