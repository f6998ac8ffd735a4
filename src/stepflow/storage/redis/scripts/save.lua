-- A change of one run, with every index that mentions it; nothing if the run is not as it was when it was read.
-- KEYS: run, journal, lane, lanes, created, ended, unfinished, stats, owners, pending, requested, owned before,
-- owned after, children
-- ARGV: one argument, packed (see fields.py). Answers 1, or 0 if the run has changed meanwhile.
local run, journal, lane, lanes, created, ended, unfinished, stats, owners, pending, requested, owned_before,
  owned_after, children = unpack(KEYS)
local change = cmsgpack.unpack(ARGV[1])
local id = change.id

local is = redis.call('HMGET', run, 'rev', 'seq', 'status')
local old_status = is[3]
if change.rev == '' then
  if is[1] then
    return 0
  end
elseif is[1] ~= change.rev or is[2] ~= change.seq then
  return 0
end

if change.alone and redis.call('SCARD', children) > 0 then
  return 0
end

-- The run itself. Long lists go in pieces: Lua's stack is finite.
for first = 1, #change.set, 1000 do
  redis.call('HSET', run, unpack(change.set, first, math.min(first + 999, #change.set)))
end
for first = 1, #change.del, 1000 do
  redis.call('HDEL', run, unpack(change.del, first, math.min(first + 999, #change.del)))
end

-- Its journal.
if #change.rows > 0 then
  redis.call('RPUSH', journal, unpack(change.rows))
  redis.call('HINCRBY', stats, 'journal', #change.rows)
end
if change.keep > 0 then
  local before = redis.call('LLEN', journal)
  redis.call('LTRIM', journal, -change.keep, -1)
  redis.call('HINCRBY', stats, 'journal', redis.call('LLEN', journal) - before)
end

-- What is counted and listed.
if old_status ~= change.status then
  if old_status then
    redis.call('HINCRBY', stats, old_status, -1)
  else
    redis.call('ZADD', created, change.created, id)
  end
  redis.call('HINCRBY', stats, change.status, 1)
  if change.ended == '' then
    redis.call('ZADD', unfinished, change.pos, id)
    redis.call('ZREM', ended, id)
  else
    redis.call('ZREM', unfinished, id)
    redis.call('ZADD', ended, change.ended, id)
  end
end

-- What may be claimed, and when.
if change.due ~= '' then
  redis.call('ZADD', lane, change.due, change.place)
  redis.call('SADD', lanes, change.lane)
elseif redis.call('ZREM', lane, change.place) == 1 and redis.call('EXISTS', lane) == 0 then
  redis.call('SREM', lanes, change.lane)
end

-- Whose it is.
if change.was ~= change.worker then
  if change.was ~= '' then
    redis.call('HDEL', owned_before, id)
    if redis.call('EXISTS', owned_before) == 0 then
      redis.call('SREM', owners, change.was)
    end
  end
  if change.worker ~= '' then
    redis.call('HSET', owned_after, id, change.owned)
    redis.call('SADD', owners, change.worker)
  end
end

-- Whether its owner is asked for something.
redis.call(change.asked and 'SADD' or 'SREM', requested, id)

-- What is left to do elsewhere.
if change.intent == 1 then
  redis.call('ZADD', pending, redis.call('TIME')[1], id)
elseif change.intent == -1 then
  redis.call('ZREM', pending, id)
end
return 1
