-- Takes one retry from the fleet's budget, if the requests of the window pay for one more (A3). See limit/retry_budget.rs.
--
-- KEYS  1 the budget, a hash: `<step>:requests` and `<step>:retries` of each step of the window
--       2 this ask: what it was answered, so that it counts once however often it is sent
-- ARGV  1 the present step   2 how many steps the window has   3 retries for 100 requests   4 the least retries in a window
--       5 for how many ms the budget is kept   6 for how many ms the ask is
--       7 … requests that the asker has not told of yet: their step, their number
-- Returns 1 if the retry may be made, else 0.

local known = redis.call('GET', KEYS[2])
if known then return tonumber(known) end
local now, steps = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 7, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i] .. ':requests', ARGV[i + 1]) end
local sum, gone, flat = {requests = 0, retries = 0}, {}, redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local step, what = flat[i]:match('^(%d+):(%a+)$')
  -- What a clock wrote that is ahead by more than a window is dropped like what is past.
  if math.abs(tonumber(step) - now) < steps then
    sum[what] = sum[what] + tonumber(flat[i + 1])
  else
    gone[#gone + 1] = flat[i]
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
local allowed = math.max(math.floor(sum.requests * tonumber(ARGV[3]) / 100), tonumber(ARGV[4]))
local answer = sum.retries < allowed and 1 or 0
if answer == 1 then redis.call('HINCRBY', KEYS[1], ARGV[1] .. ':retries', 1) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], answer, 'PX', ARGV[6])
return answer
