-- The workers: register one, forget one, renew a lease, or look who lives.
-- KEYS: workers, leases, names; ARGV: one argument, packed, whose verb says what
local workers, leases, names = unpack(KEYS)
local ask = cmsgpack.unpack(ARGV[1])

local function forget(id, name)
  redis.call('HDEL', workers, id)
  redis.call('ZREM', leases, id)
  if name and redis.call('HGET', names, name) == id then
    redis.call('HDEL', names, name)
  end
end

local function name_of(id)
  local text = redis.call('HGET', workers, id)
  local name = text and cjson.decode(text).name
  return type(name) == 'string' and name or nil
end

if ask.verb == 'register' then
  local former = ask.name ~= '' and redis.call('HGET', names, ask.name)
  if former then
    forget(former, ask.name)
  end
  forget(ask.id, name_of(ask.id))
  redis.call('HSET', workers, ask.id, ask.record)
  redis.call('ZADD', leases, ask.lease, ask.id)
  if ask.name ~= '' then
    redis.call('HSET', names, ask.name, ask.id)
  end
  return 1
elseif ask.verb == 'release' then
  forget(ask.id, name_of(ask.id))
  return 1
elseif ask.verb == 'renew' then
  if redis.call('HEXISTS', workers, ask.id) == 0 then
    return 0
  end
  redis.call('ZADD', leases, ask.lease, ask.id)
  return 1
end

-- claim: a lease that passed is over, except the claimant's own. Answers who is left.
if redis.call('HEXISTS', workers, ask.id) == 0 then
  return cmsgpack.pack({})
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', ask.now)) do
  if id ~= ask.id then
    forget(id, name_of(id))
  end
end
return cmsgpack.pack(redis.call('HKEYS', workers))
