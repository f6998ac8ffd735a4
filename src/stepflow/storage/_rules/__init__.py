"""What each write does to the records of a store, whatever holds them.

The rules decide over ``Records``: dictionaries in memory, a transaction's working set on a database. A backend
brings the records, the lookups that a database does better, and durability; it repeats no rule.
"""
