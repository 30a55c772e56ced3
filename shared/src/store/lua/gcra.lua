-- The generic cell rate algorithm, as limit/gcra.rs has it; prelude of the scripts that take from a rate or correct it.
-- See ADR 9. The state of a rate is an instant, in ms, and ticks of 1/limit ms on top; a limit of 0 is none. All is
-- done on the backlog, max(0, state - now) in ticks, whose numbers are whole and below 2^53 while burst * period is; so
-- nothing is rounded but the caller's `retry-after`. A backlog of more than twice the burst is a clock that was set
-- back, and counts as the burst.

-- A rate is a RATE, packed as tenant.lua says.
local RATE = '<ddd'

-- Takes `units`: answers false and the new state; or the ms to wait and the state as it counts. More than a burst passes
-- when the full burst is there.
local function take(rate, ms, ticks, now, units)
  local limit, period_ms, burst = struct.unpack(RATE, rate)
  if limit == 0 then return false, ms, ticks end
  local backlog, full = (ms - now) * limit + (ticks < limit and ticks or limit - 1), burst * period_ms
  if backlog < 0 then backlog = 0 end
  if backlog > 2 * full then
    backlog, ticks = full, full % limit
    ms = now + (full - ticks) / limit
  end
  backlog = backlog + (units < burst and units or burst) * period_ms
  local excess = backlog - full
  if excess > 0 then return math.ceil(excess / limit), ms, ticks end
  local rest = backlog % limit
  return false, now + (backlog - rest) / limit, rest
end

-- Takes `units` more, up to twice the burst, or gives back if there are less than none: answers the new state.
local function correct(rate, ms, ticks, now, units)
  local limit, period_ms, burst = struct.unpack(RATE, rate)
  if limit == 0 then return ms, ticks end
  local backlog, full = (ms - now) * limit + (ticks < limit and ticks or limit - 1), burst * period_ms
  if backlog < 0 then backlog = 0 end
  if backlog > 2 * full then backlog = full end
  backlog = backlog + units * period_ms
  if backlog < 0 then backlog = 0 end
  if backlog > 2 * full then backlog = 2 * full end
  local rest = backlog % limit
  return now + (backlog - rest) / limit, rest
end
