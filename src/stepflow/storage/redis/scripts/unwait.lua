-- A run does not wait any more, unless it has registered again since.
-- KEYS: waiting; ARGV: one argument, packed: run, seq
local wait = cmsgpack.unpack(ARGV[1])
local seq = redis.call('HGET', KEYS[1], wait.run)
if seq and tonumber(seq) <= tonumber(wait.seq) then
  redis.call('HDEL', KEYS[1], wait.run)
end
return 1
