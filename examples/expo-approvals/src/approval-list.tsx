// ApprovalList: the first screen: what waits for a decision.
import type { ReactElement } from "react";
import { FlatList, Pressable, Text } from "react-native";
import type { Approval } from "./office";
import { styles } from "./styles";
import { useApprovals } from "./use-approvals";

export function ApprovalList({ onOpen }: { onOpen: (approval: Approval) => void }): ReactElement {
  const { items, isLoading, error, refresh } = useApprovals();
  return (
    <>
      <Text style={styles.title}>Waiting for you</Text>
      {error !== undefined && <Text style={styles.trouble}>{error}</Text>}
      <FlatList
        testID="approvals"
        data={items}
        keyExtractor={({ run }) => run}
        refreshing={isLoading}
        onRefresh={refresh}
        ListEmptyComponent={<Text style={styles.quiet}>{isLoading ? "Loading" : "Nothing waits"}</Text>}
        renderItem={({ item }) => (
          <Pressable
            style={styles.row}
            accessibilityRole="button"
            onPress={() => {
              onOpen(item);
            }}
          >
            <Text style={styles.text}>{item.expense.purpose}</Text>
            <Text style={styles.quiet}>{`${item.expense.employee}, ${item.expense.amount}`}</Text>
          </Pressable>
        )}
      />
    </>
  );
}
