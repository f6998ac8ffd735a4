// The shop: a customer orders, watches each step as it is done, a manager approves, and the receipt comes.
import { useState, type FormEvent, type ReactNode } from "react";
import type { Step } from "@stepflow/client";
import { useTriggerAndFollow } from "@stepflow/react";
import type { Approval, OrderInput, Receipt } from "./workflows";

const GOODS = ["tea", "honey", "cups"];

export function Shop(): ReactNode {
  const [orderId, setOrderId] = useState("");
  const order = useTriggerAndFollow("checkout");
  const isAway = order.run !== undefined && !order.isEnded && order.connection !== "open";

  const buy = (wanted: Omit<OrderInput, "id">): void => {
    const id = crypto.randomUUID().slice(0, 8);
    setOrderId(id);
    void order.trigger({ id, ...wanted });
  };

  return (
    <main>
      <h1>Order tracker</h1>
      {order.status === "idle" && <OrderForm isSending={order.isTriggering} onOrder={buy} />}
      {order.triggerError && <p role="alert">Not ordered: {order.triggerError.message}</p>}
      {order.error && <p role="alert">The order can’t be followed: {order.error.message}</p>}
      <p role="status">{isAway && "Reconnecting … your order is safe, and goes on where it was."}</p>
      <ol aria-live="polite" aria-label="What has been done">
        {order.steps.map((step) => (
          <StepItem key={step.key} step={step} />
        ))}
      </ol>
      {(order.run?.waits.length ?? 0) > 0 && <Decision key={orderId} orderId={orderId} isAway={isAway} />}
      {order.status === "completed" && <ReceiptCard receipt={order.output} onAgain={order.reset} />}
      {order.status === "failed" && <p role="alert">That went wrong: {order.failure?.message}</p>}
    </main>
  );
}

function OrderForm(props: {
  isSending: boolean;
  onOrder: (wanted: Omit<OrderInput, "id">) => void;
}): ReactNode {
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const shipping = form.has("express") ? "express" : "standard";
    props.onOrder({ items: form.getAll("item").map(String), shipping });
  };
  return (
    <form onSubmit={submit}>
      <fieldset>
        <legend>What would you like? Each is 5 €.</legend>
        {GOODS.map((name) => (
          <label key={name}>
            <input type="checkbox" name="item" value={name} defaultChecked={name !== "cups"} /> {name}
          </label>
        ))}
        <label>
          <input type="checkbox" name="express" /> by express
        </label>
      </fieldset>
      <button disabled={props.isSending}>Buy</button>
    </form>
  );
}

function StepItem({ step: { name, status, result } }: { step: Step }): ReactNode {
  return (
    <li className={status}>
      <span>{name.replaceAll("-", " ")}</span>
      <small>{typeof result === "string" ? result : status}</small>
    </li>
  );
}

/** What a manager sees. In a real shop that is another page, behind a login. */
function Decision({ orderId, isAway }: { orderId: string; isAway: boolean }): ReactNode {
  const [error, setError] = useState<string>();
  const [isSent, setIsSent] = useState(false);
  const decide = async (granted: boolean): Promise<void> => {
    const body: Approval = { by: "Grace", granted };
    const headers = { "Content-Type": "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify(body) };
    try {
      const answer = await fetch(`/orders/${orderId}/approval`, request);
      setIsSent(answer.ok);
      setError(answer.ok ? undefined : `The server answered ${answer.status}.`);
    } catch {
      setError("The server can’t be reached. Try again.");
    }
  };
  return (
    <section aria-label="For the manager">
      <p>Grace, may order {orderId} go out?</p>
      <button disabled={isAway || isSent} onClick={() => void decide(true)}>
        Approve
      </button>
      <button disabled={isAway || isSent} onClick={() => void decide(false)} className="quiet">
        Refuse
      </button>
      {error && <p role="alert">{error}</p>}
    </section>
  );
}

function ReceiptCard({ receipt, onAgain }: { receipt: Receipt; onAgain: () => void }): ReactNode {
  return (
    <section aria-label="Receipt">
      <h2>Receipt</h2>
      <dl>
        <dt>Order</dt>
        <dd>
          {receipt.order.id}: {receipt.order.items.join(", ")}
        </dd>
        <dt>Total</dt>
        <dd>{receipt.total} €</dd>
        <dt>Outcome</dt>
        <dd>{receipt.outcome}</dd>
        <dt>Tracking</dt>
        <dd>{receipt.tracking ?? "none"}</dd>
      </dl>
      <button onClick={onAgain} className="quiet">
        Order again
      </button>
    </section>
  );
}
