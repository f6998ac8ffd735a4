// A shop's button: starts a checkout, shows how it goes, and asks for an approval.
import { useState, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { StepflowClient } from "@stepflow/client";
import { StepflowProvider, useNotify, useTriggerAndFollow } from "@stepflow/react";

const client = new StepflowClient({ baseUrl: "/stepflow", publicApiKey: "sf_pub_shop" });

function Checkout(): ReactNode {
  const [total, setTotal] = useState(42);
  const checkout = useTriggerAndFollow("checkout");
  const { notify, isNotifying } = useNotify({ runId: checkout.run?.id });
  const asked = checkout.run?.waits[0];

  return (
    <main>
      <input
        type="number"
        value={total}
        onChange={(event) => {
          setTotal(event.target.valueAsNumber);
        }}
      />
      <button disabled={checkout.isTriggering} onClick={() => void checkout.trigger({ total })}>
        Buy
      </button>
      <ol>
        {checkout.steps.map((step) => (
          <li key={step.key}>{`${step.name}: ${step.status}`}</li>
        ))}
      </ol>
      {asked && (
        <button disabled={isNotifying} onClick={() => void notify(asked.eventId, { approved: true })}>
          Approve
        </button>
      )}
      {checkout.status === "completed" && <p>Your receipt: {checkout.output.receipt}</p>}
      {checkout.status === "failed" && <p>That went wrong: {checkout.failure?.message}</p>}
    </main>
  );
}

createRoot(document.body).render(
  <StepflowProvider client={client}>
    <Checkout />
  </StepflowProvider>,
);
