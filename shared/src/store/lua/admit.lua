-- Admits a request: checks every limit and takes from all of them, or from none (M1).
--
-- KEYS  1 tenant   2 the mark of the request: h a hit that is counted, s done with
--       3 the remembered answer, if the mode is LOOK
-- ARGV  1 packed: now_ms, settings version, mode, lease_ends_ms, the most requests in flight, tokens to take from the rate
--         of tokens; the rate of requests and that of tokens: limit, period_ms, burst;
--         the hold and the strict hold: requests, tokens, nano-US-dollar;
--         then the same of each window: the most. What is not limited has an infinite limit, a rate that is not asked 0
--       2 request   3 windows as text, as a hold keeps them   4 … their fields
-- Modes:
local MISS = 0
local HIT = 1
local LOOK = 2        -- a hit if the remembered answer is there: 15 digits of Unix ms when it expires, 16 characters of
                      -- generation, the answer
local GONE = 3        -- a miss; if the request was counted as a hit already, that is undone
--
-- Answers packed: what, a, b, c, {ms, ticks} of the rate of requests, {ms, ticks} of that of tokens, the epoch, 1 if it is a
-- hit; then the generation; then "\nrequest r t c windows" of each lost hold. What, and what a, b and c are:
local HELD = 0        -- requests, tokens, nano-US-dollar that are held; nothing of a hit
local RATE = 1        -- 1 of requests or 2 of tokens, retry_after_ms
local CONCURRENCY = 2
local CLOSED = 3      -- retry_after_ms
local QUOTA = 4       -- number of the window, 1 of requests, 2 of tokens or 3 of cost
local STALE = 5       -- 1 if the settings are, the sum of 2^(number - 1) of the missing windows
local ANSWER = '<ddddddddddc0'
local BEGUN_KEPT_MS = 60000 -- for how long a tenant that is begun waits for a refill

local numbers, hold_field, count = ARGV[1], 'h:' .. ARGV[2], #ARGV - 3
local now, version, mode, lease, concurrency, rate_tokens, request_limit, request_period, request_burst, token_limit,
  token_period, token_burst = struct.unpack('<dddddddddddd', numbers)

local kept, lost = redis.call('HMGET', KEYS[1], 's', 'g', hold_field, 'm', unpack(ARGV, 4)), ''
local request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known =
  struct.unpack(STATE, kept[1] or NEW)
if due <= now then
  lost = sweep(now)
  kept = redis.call('HMGET', KEYS[1], 's', 'g', hold_field, 'm', unpack(ARGV, 4))
  open, due = struct.unpack('<dd', kept[1], DUE_AT - 8)
end
local generation, hold, marked_until = kept[2] or '', kept[3], kept[4]
local ended = hold and struct.unpack('<d', hold) < 0
if hold and not ended then
  return struct.pack('<d', HELD) .. string.sub(hold, 9, 32) .. string.sub(kept[1], 1, 40) .. struct.pack('<d', 0)
    .. generation .. lost
end

local hit = mode == HIT
if mode == LOOK then
  local head = redis.call('GETRANGE', KEYS[3], '0', '30')
  hit = #head == 31 and generation ~= '' and string.sub(head, 16) == generation
    and tonumber(string.sub(head, 1, 15)) > now
end

local done = ended and 's'
  or (mode ~= MISS or marked_until and tonumber(marked_until) > now) and redis.call('GET', KEYS[2])
if done == 'h' and mode == GONE then
  done = false
  redis.call('DEL', KEYS[2])
  request_ms, request_ticks = correct(request_limit, request_period, request_burst, request_ms, request_ticks, now, -1)
  for i = 1, count do
    local window = kept[4 + i]
    if window then
      kept[4 + i] = struct.pack('<d', math.max(0, struct.unpack('<d', window) - 1)) .. string.sub(window, 9)
      redis.call('HSET', KEYS[1], ARGV[3 + i], kept[4 + i])
    end
  end
  if kept[1] then
    local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known)
    redis.call('HSET', KEYS[1], 's', state)
  end
end

local what, a, b, c = HELD, 0, 0, 0
local stale, missing, closed_until = known == version and 0 or 1, 0, 0
for i = 1, count do
  if not kept[4 + i] then
    missing = missing + 2 ^ (i - 1)
    closed_until = math.max(closed_until, tonumber(redis.call('HGET', KEYS[1], 'k:' .. ARGV[3 + i]) or 0))
  end
end

if done then
  hit = done == 'h'
elseif closed_until > now then
  what, a = CLOSED, closed_until - now
elseif stale + missing > 0 then
  what, a, b = STALE, stale, missing
  if not kept[1] then
    -- A tenant that was lost is begun anew, before anybody reads the ledger for it: no other beginning has this epoch, not
    -- one by a copy of this call.
    epoch = tonumber(string.sub(redis.sha1hex(ARGV[2] .. table.concat(redis.call('TIME'), '.')), 1, 13), 16)
    redis.call('HSET', KEYS[1], 's', struct.pack(STATE, 0, 0, 0, 0, epoch, 0, due, known))
    if redis.call('PTTL', KEYS[1]) < BEGUN_KEPT_MS then redis.call('PEXPIRE', KEYS[1], BEGUN_KEPT_MS) end
  end
elseif not hit and open >= concurrency then
  what = CONCURRENCY
else
  -- The calibrated hold, or the one that cannot be exceeded where less than ten times as much is left (M3).
  local requests, tokens, cost = 1, 0, 0
  if not hit then
    requests, tokens, cost = struct.unpack('<ddd', numbers, 97)
    for i = 1, count do
      local used_tokens, used_cost, _, held_tokens, held_cost = struct.unpack('<ddddd', kept[4 + i], 9)
      local most_tokens, most_cost = struct.unpack('<dd', numbers, 129 + 24 * i)
      local left_tokens, left_cost = most_tokens - used_tokens - held_tokens, most_cost - used_cost - held_cost
      if left_tokens < tokens * 10 and tokens > 0 or left_cost < cost * 10 and cost > 0 then
        requests, tokens, cost = struct.unpack('<ddd', numbers, 121)
      end
    end
  end

  local wait, then_ms, then_ticks = take(request_limit, request_period, request_burst, request_ms, request_ticks, now, 1)
  local token_wait, token_then_ms, token_then_ticks = false, token_ms, token_ticks
  if not hit then
    token_wait, token_then_ms, token_then_ticks =
      take(token_limit, token_period, token_burst, token_ms, token_ticks, now, rate_tokens)
  end
  local write, last = {0, 0, 0, 0, 0, 0}, 2 * count -- To begin with it is as long as it mostly gets.
  -- Nothing is taken by a refusal; but what a clock that was set back has left would be as far off at the next look.
  local is_back = false
  if wait then
    what, a, b, is_back = RATE, 1, wait, then_ms ~= request_ms
    request_ms, request_ticks = then_ms, then_ticks
  elseif token_wait then
    what, a, b, is_back = RATE, 2, token_wait, token_then_ms ~= token_ms
    token_ms, token_ticks = token_then_ms, token_then_ticks
  else
    for i = 1, count do
      local ur, ut, uc, hr, ht, hc = struct.unpack(WINDOW, kept[4 + i])
      local most_requests, most_tokens, most_cost = struct.unpack('<ddd', numbers, 121 + 24 * i)
      local over = requests > 0 and ur + hr + requests > most_requests and 1
        or tokens > 0 and ut + ht + tokens > most_tokens and 2 or cost > 0 and uc + hc + cost > most_cost and 3
      if over then
        what, a, b = QUOTA, i, over
        break
      end
      if hit then
        ur = ur < MOST and ur + 1 or MOST
      else
        hr, ht, hc = hr + requests, ht + tokens, hc + cost
        if hr > MOST then hr = MOST end
        if ht > MOST then ht = MOST end
        if hc > MOST then hc = MOST end
      end
      write[2 * i - 1], write[2 * i] = ARGV[3 + i], struct.pack(WINDOW, ur, ut, uc, hr, ht, hc)
    end
  end

  if is_back then
    local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known)
    redis.call('HSET', KEYS[1], 's', state)
  elseif what == HELD then
    request_ms, request_ticks, token_ms, token_ticks = then_ms, then_ticks, token_then_ms, token_then_ticks
    if hit then
      redis.call('SET', KEYS[2], 'h', 'PX', '60000')
    else
      a, b, c, open, due = requests, tokens, cost, open + 1, due < lease and due or lease
      write[last + 1], write[last + 2] = hold_field, struct.pack(HOLD, lease, a, b, c, ARGV[3])
      last = last + 2
    end
    local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known)
    redis.call('HSET', KEYS[1], 's', state, unpack(write, 1, last))
  end
end
return struct.pack(ANSWER, what, a, b, c, request_ms, request_ticks, token_ms, token_ticks, epoch, hit and 1 or 0,
  generation .. lost)
