-- An event goes into the log of its id, or is found there already.
-- KEYS: log, known, waiting, events, outbox, pending, stats
-- ARGV: one argument, packed (see operations/events.py). With pos '' it only looks.
-- Answers, packed: {what} or {what, more}.
local log, known, waiting, events, outbox, pending, stats = unpack(KEYS)
local new = cmsgpack.unpack(ARGV[1])

if new.origin ~= '' then
  local there = redis.call('HGET', known, 'o' .. new.origin)
  if there then
    return cmsgpack.pack({'again', there})
  end
end
if new.dedup ~= '' then
  local there = redis.call('HGET', known, new.dedup)
  if there then
    return cmsgpack.pack({'same', there})
  end
end
if new.once then
  local first = redis.call('ZRANGE', log, 0, 0)
  if first[1] then
    return cmsgpack.pack({'lost', first[1]})
  end
end
if new.pos == '' then
  return cmsgpack.pack({'free'})
end

-- Whoever waits reads in the order of positions: one that came late must take a later one.
local last = redis.call('HGET', known, 'last')
if last and tonumber(last) >= tonumber(new.pos) then
  return cmsgpack.pack({'late'})
end
redis.call('HSET', known, 'last', new.pos)
if new.dedup ~= '' then
  redis.call('HSET', known, new.dedup, new.pointer)
end
if new.origin ~= '' then
  redis.call('HSET', known, 'o' .. new.origin, new.pointer)
end
redis.call('ZADD', log, new.pos, new.event)
redis.call('ZADD', events, new.at, new.place)
redis.call('HINCRBY', stats, 'events', 1)

local who
if new.run == '' then
  who = redis.call('HKEYS', waiting)
elseif redis.call('HEXISTS', waiting, new.run) == 1 then
  who = {new.run}
else
  who = {}
end
if #who > 0 then
  -- To wake them is left to do in their partitions; a sweeper does it if this sender can't.
  redis.call('HSET', outbox, new.wake, new.intent)
  redis.call('ZADD', pending, redis.call('TIME')[1], new.wake)
end
return cmsgpack.pack({'sent', who})
