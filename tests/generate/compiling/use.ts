// What a page does with the generated types of tests/generate/programs/shop.py: right, and wrong in every way.

import { StepflowClient, type OutputOf, type WorkflowId } from "@stepflow/client";
import type { AppWorkflows, OrderInput } from "./workflows";

declare function useRun<W extends WorkflowId>(id: W, runId: string): { output: OutputOf<W> };

const client = new StepflowClient({ baseUrl: "/stepflow" });
const order: OrderInput = {
  id: "o-1",
  color: "red",
  payment: { type: "card", cardNumber: "42" },
  place: [1],
  label: { text: "hello" },
  row: ["screws"],
  parcel: { weight: 1.5 },
  categories: { now: { name: "all", inner: [{ name: "some" }] } },
  run: { at: "2024-02-29T12:30:00Z", form: { shape: "round", radius: 1 } },
  pair: [1, "a"],
};

void client.trigger("checkout", order);
void client.trigger("checkout", { ...order, payment: { type: "cash", amount: "9.90" }, stock: { red: 1 }, levels: [1, 2] });
void client.trigger("checkout", { ...order, by_number: { 7: ["a", null] }, notes: { deep: [1, { a: null }] }, size: 3 });
void client.trigger("nightly-report");
void client.trigger("restock");
void client.trigger("restock", [1]);
void client.trigger("restock", null);
void client.trigger("rest", { any: ["thing"] });
void client.notify("shipped/o-1", { weight: 2 });
void client.notify("shipped/o-1/returned", "broken");
void client.notify("shipped/all", { text: "at last" });
void client.notify("closed", { text: "bye", size: 1 });
void client.notify("of/another/app", { weight: 2 });

// ------------------------------------------------------------------ what is received
const { output } = useRun("checkout", "run-1");
const day: string = output.order.day;
const total: string = output.total;
const inner: string | undefined = output.order.categories.before[0]?.inner[0]?.name;
const weight: number = output.order.parcel.weight;
const stock: number | undefined = output.order.stock.red;
const box: string = output.order.place[1];
const nothing: null = useRun("nightly-report", "run-2").output;
const at: string = useRun("rest", "run-3").output.at;
const form: AppWorkflows["rest"]["output"]["form"] = useRun("rest", "run-3").output.form;
const side: number = form.shape === "square" ? form.side : form.radius;
const payment = output.order.payment;
const coins: number[] | undefined = payment.type === "cash" ? payment.coins : undefined;
void [day, total, inner, weight, stock, box, nothing, at, side, coins];

// ------------------------------------------------------------------ what is wrong
// @ts-expect-error: there is no such workflow
void client.trigger("check-out", order);
// @ts-expect-error: it takes an order
void client.trigger("checkout");
// @ts-expect-error: it takes nothing
void client.trigger("nightly-report", order);
// @ts-expect-error: a field is missing
void client.trigger("checkout", { id: "o-1" });
// @ts-expect-error: not null
void client.trigger("checkout", null);
// @ts-expect-error: no such color
void client.trigger("checkout", { ...order, color: "blue" });
// @ts-expect-error: no such field
void client.trigger("checkout", { ...order, colour: "red" });
// @ts-expect-error: the tag is missing
void client.trigger("checkout", { ...order, payment: { cardNumber: "42" } });
// @ts-expect-error: another member's field
void client.trigger("checkout", { ...order, payment: { type: "cash", cardNumber: "42" } });
// @ts-expect-error: the name of Python, not that of the wire
void client.trigger("checkout", { ...order, payment: { type: "card", card_number: "42" } });
// @ts-expect-error: the discriminator has a default, and is needed all the same
void client.trigger("checkout", { ...order, run: { at: "2024-02-29T12:30:00Z", form: { radius: 1 } } });
// @ts-expect-error: no such level
void client.trigger("restock", [3]);
// @ts-expect-error: a tuple has so many places
void client.trigger("checkout", { ...order, pair: [1, "a", "b"] });
// @ts-expect-error: a tuple has a type for each place
void client.trigger("checkout", { ...order, place: [1, 2] });
// @ts-expect-error: the wrong value of a mapping
void client.trigger("checkout", { ...order, stock: { red: "1" } });
// @ts-expect-error: the wrong key of a mapping
void client.trigger("checkout", { ...order, stock: { blue: 1 } });
// @ts-expect-error: deep inside
void client.trigger("checkout", { ...order, categories: { now: { name: "all", inner: [{ title: "some" }] } } });
// @ts-expect-error: no number
void client.trigger("checkout", { ...order, parcel: { weight: "1.5" } });
// @ts-expect-error: another payload
void client.notify("shipped/o-1/returned", { weight: 2 });
// @ts-expect-error: an id of its own, though a pattern has it too
void client.notify("shipped/all", { weight: 2 });
// @ts-expect-error: a payload that is not whole
void client.notify("closed", {});
// @ts-expect-error: no field of the result
void output.order.colour;
// @ts-expect-error: it may be null
const time: string = output.order.time;
// @ts-expect-error: what was empty is left out
const always: number[] = payment.type === "cash" ? payment.coins : [];
// @ts-expect-error: it is the app's Run, not the client's
void useRun("rest", "run-3").output.workflowId;
void [time, always];
