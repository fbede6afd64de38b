"""Lua scripts of the Redis store: each runs as one atomic step on the server.

A pool is three keys: a sorted set of claim keys by expiry, a hash from claim key to `amount:fence`, and the sum of
the amounts, so that a claim costs O(log n) however many there are. All scripts drop expired claims first.
"""

_FUNCTIONS = """
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
  local current = tonumber(redis.call('GET', fence_key) or '0')
  if current < tonumber(floor) then redis.call('SET', fence_key, floor) end
end
"""

_POOL = "local expiries, details, sum, fence_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]" + _FUNCTIONS

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

SETTLE = (
    """
local expiries, details, sum
local fence_key = KEYS[1]
"""
    + _FUNCTIONS
    + """
local function claim(key, amount, capacity, floor, expires_at)
  local held = detail_of(key)
  if total() - held + tonumber(amount) > tonumber(capacity) then return false end
  drop(key)
  if floor ~= '0' then raise_fence(floor) end
  local fence = string.format('%.0f', redis.call('INCR', fence_key))
  put(key, amount, fence, expires_at)
  return fence
end
local function release(key, fence)
  local _, held_fence = detail_of(key)
  if held_fence ~= fence then return false end
  drop(key)
  if total() == 0 and redis.call('ZCARD', expiries) == 0 then redis.call('DEL', sum) end
  return '1'
end
local purged, answers = {}, {}
for order = 1, #ARGV / 7 do
  local at = (order - 1) * 7
  local pool = 2 + tonumber(ARGV[at + 1]) * 3
  expiries, details, sum = KEYS[pool], KEYS[pool + 1], KEYS[pool + 2]
  local key, amount, capacity, floor = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local now, expires_at = tonumber(ARGV[at + 6]), ARGV[at + 7]
  if not purged[pool] or purged[pool] < now then
    purge(ARGV[at + 6])
    purged[pool] = now
  end
  if capacity == '-1' then
    answers[order] = release(key, amount)
  else
    answers[order] = claim(key, amount, capacity, floor, expires_at)
  end
end
return answers
"""
)
"""Claims and releases in order. KEYS: the fence, then three of each pool. ARGV: seven of each order: the pool's index,
the key, amount, capacity and fence floor of a claim, now, and its expiry; a release has its fence for an amount and -1
for a capacity."""

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
