// App: two screens, and what both need around them.
import { useState, type ReactElement } from "react";
import { View } from "react-native";
import { OfflineQueueProvider, StepflowProvider } from "@stepflow/react-native";
import { ApprovalDetail } from "./approval-detail";
import { ApprovalList } from "./approval-list";
import { client, queue, type Approval } from "./office";
import { styles } from "./styles";

export function App(): ReactElement {
  const [opened, setOpened] = useState<Approval>();
  return (
    <StepflowProvider client={client}>
      <OfflineQueueProvider queue={queue}>
        <View style={styles.screen}>
          {opened ? (
            <ApprovalDetail
              approval={opened}
              onBack={() => {
                setOpened(undefined);
              }}
            />
          ) : (
            <ApprovalList onOpen={setOpened} />
          )}
        </View>
      </OfflineQueueProvider>
    </StepflowProvider>
  );
}
