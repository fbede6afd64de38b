"""Lua scripts of the Redis store: each runs as one atomic step on the server.

A pool is three keys: a sorted set of claim keys by expiry, a hash from claim key to `amount:fence`, and the sum of
the amounts, so that a claim costs O(log n) however many there are. All scripts drop expired claims first.
"""

_POOL = """
local expiries, details, sum = KEYS[1], KEYS[2], KEYS[3]
local function drop(key)
  local detail = redis.call('HGET', details, key)
  if detail then
    redis.call('DECRBY', sum, string.match(detail, '^(%d+):'))
    redis.call('HDEL', details, key)
  end
  redis.call('ZREM', expiries, key)
end
local function purge(now)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now)) do drop(key) end
end
local function put(key, amount, fence, expires_at)
  redis.call('ZADD', expiries, expires_at, key)
  redis.call('HSET', details, key, amount .. ':' .. fence)
  redis.call('INCRBY', sum, amount)
end
local function total() return tonumber(redis.call('GET', sum) or '0') end
local function detail_of(key)
  local detail = redis.call('HGET', details, key)
  if not detail then return 0, nil end
  local amount, fence = string.match(detail, '^(%d+):(%d+)$')
  return tonumber(amount), fence
end
local function raise_fence(floor)
  local current = tonumber(redis.call('GET', KEYS[4]) or '0')
  if current < tonumber(floor) then redis.call('SET', KEYS[4], floor) end
end
"""

CLAIM = (
    _POOL
    + """
local key, amount, capacity, expires_at, now, floor = unpack(ARGV)
purge(now)
local held = detail_of(key)
if total() - held + tonumber(amount) > tonumber(capacity) then return false end
drop(key)
raise_fence(floor)
local fence = string.format('%.0f', redis.call('INCR', KEYS[4]))
put(key, amount, fence, expires_at)
return fence
"""
)

RENEW = (
    _POOL
    + """
local key, amount, capacity, expires_at, now, fence = unpack(ARGV)
purge(now)
local held, held_fence = detail_of(key)
if held_fence and held_fence ~= fence then return 0 end
if total() - held + tonumber(amount) > tonumber(capacity) and not held_fence then return 0 end
drop(key)
raise_fence(fence)
put(key, amount, fence, expires_at)
return 1
"""
)

RELEASE = (
    _POOL
    + """
local key, fence = unpack(ARGV)
local _, held_fence = detail_of(key)
if held_fence ~= fence then return 0 end
drop(key)
if total() == 0 and redis.call('ZCARD', expiries) == 0 then redis.call('DEL', sum) end
return 1
"""
)

CLAIMED = (
    _POOL
    + """
purge(ARGV[1])
return total()
"""
)

USE_TOKEN = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
return redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
"""

REVOKE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
return redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
"""

AGENTS = """
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
  redis.call('ZREM', KEYS[1], name)
  redis.call('HDEL', KEYS[2], name)
end
return redis.call('HGETALL', KEYS[2])
"""
