// ApprovalDetail: one expense, its run live, and the decision, which is kept if there is no network.
import { useState, type ReactElement } from "react";
import { Button, Text, View } from "react-native";
import { useOfflineQueue, useQueuedNotify, useRun } from "@stepflow/react-native";
import type { Approval } from "./office";
import { styles } from "./styles";

interface Props {
  approval: Approval;
  onBack: () => void;
}

export function ApprovalDetail({ approval: { run: runId, expense }, onBack }: Props): ReactElement {
  const { status, steps, output, error } = useRun("reimburse", runId);
  const awaited = steps.some((step) => step.name === "decision" && step.status === "waiting");
  return (
    <>
      <Button title="Back" onPress={onBack} />
      <Text style={styles.title}>{expense.purpose}</Text>
      <Text style={styles.text}>{`${expense.employee} asks for ${expense.amount}`}</Text>
      {steps.map((step) => (
        <Text key={step.key} style={styles.text}>{`${step.name}: ${step.status}`}</Text>
      ))}
      <Text style={styles.quiet}>{output ?? status}</Text>
      {error && <Text style={styles.trouble}>{error.message}</Text>}
      <Decision runId={runId} expenseId={expense.id} isOpen={awaited} />
    </>
  );
}

function Decision({
  runId,
  expenseId,
  isOpen,
}: {
  runId: string;
  expenseId: string;
  isOpen: boolean;
}): ReactElement {
  const [decided, setDecided] = useState(false);
  const { notify, error } = useQueuedNotify();
  const { pending } = useOfflineQueue();
  const decide = (approved: boolean) => () => {
    setDecided(true);
    notify(`decision/${expenseId}`, { by: "Grace", approved }, { runId }).catch(() => {
      setDecided(false); // it could not be kept: `error` says why
    });
  };
  const isKept = pending.some((call) => call.kind === "notify" && call.options.runId === runId);
  return (
    <View style={styles.buttons}>
      <Button title="Approve" disabled={!isOpen || decided} onPress={decide(true)} />
      <Button title="Reject" disabled={!isOpen || decided} onPress={decide(false)} />
      {isKept && <Text style={styles.quiet}>Kept, to be sent when there is a network</Text>}
      {error && <Text style={styles.trouble}>{error.message}</Text>}
    </View>
  );
}
