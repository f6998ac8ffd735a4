-- Commits that insert a journal row and touch nothing else, many runs at a time.
-- KEYS: run and journal of each commit, then the partition's stats
-- ARGV: for each commit its writer, the seq before it, its seq, its row
-- Answers one character a commit: 1 it went in, 0 it is not the writer's turn.
local outcomes = {}
local written = 0
local commits = (#KEYS - 1) / 2
for n = 1, commits do
  local run = KEYS[2 * n - 1]
  local at = 4 * (n - 1)
  local is = redis.call('HMGET', run, 'worker', 'seq', 'intent')
  if is[1] == ARGV[at + 1] and is[2] == ARGV[at + 2] and not is[3] then
    redis.call('RPUSH', KEYS[2 * n], ARGV[at + 4])
    redis.call('HSET', run, 'seq', ARGV[at + 3])
    written = written + 1
    outcomes[n] = '1'
  else
    outcomes[n] = '0'
  end
end
if written > 0 then
  redis.call('HINCRBY', KEYS[#KEYS], 'journal', written)
end
return table.concat(outcomes)
