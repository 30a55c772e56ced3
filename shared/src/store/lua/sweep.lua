-- Ends the holds of a tenant whose lease has expired; prelude of the scripts that look at it. Each is charged in full
-- and handed out, and again every minute until the ledger has acknowledged it (M2). The hash is read whole only when a
-- lease may have ended (see ADR 9).

-- Answers what is to be recorded: "\nrequest requests tokens nusd windows" of each.
local function sweep(now)
  local HAND_OUT_AGAIN_MS = 60000
  local flat, kept, expired, windows = redis.call('HGETALL', KEYS[1]), {}, {}, {}
  for i = 1, #flat, 2 do kept[flat[i]] = flat[i + 1] end
  local next_sweep_ms, ended = math.huge, 0
  for field, packed in pairs(kept) do
    local request = string.match(field, '^hold:(.*)$')
    if request then
      local lease_until_ms, requests, tokens, cost_nusd, rest = struct.unpack(HOLD, packed)
      local held, names = {requests, tokens, cost_nusd}, string.sub(packed, rest)
      local is_open = lease_until_ms > 0
      local look_at_ms = is_open and math.floor(lease_until_ms) or HAND_OUT_AGAIN_MS - lease_until_ms
      if look_at_ms <= now then
        for name in string.gmatch(is_open and names or '', '([^,]+)%-%d+') do
          local window = windows[name] or kept[name] and {struct.unpack(WINDOW, kept[name])}
          if window then
            for unit = REQUESTS, COST_NUSD do
              window[USED + unit] = math.min(window[USED + unit] + held[unit], MOST)
              window[HELD + unit] = math.max(window[HELD + unit] - held[unit], 0)
            end
            windows[name] = window
          end
        end
        if has_place(lease_until_ms) then
          ended = ended + 1
          if string.find(names, '/', 1, true) then key_paces().leave(names) end
        end
        expired[#expired + 1] = string.format('\n%s %d %d %d %s', request, requests, tokens, cost_nusd, names)
        redis.call('HSET', KEYS[1], field, struct.pack(HOLD, -now, requests, tokens, cost_nusd) .. names)
        look_at_ms = now + HAND_OUT_AGAIN_MS
      end
      next_sweep_ms = math.min(next_sweep_ms, look_at_ms)
    end
  end
  for name, window in pairs(windows) do
    redis.call('HSET', KEYS[1], name, struct.pack(WINDOW, unpack(window, 1, 6)))
  end
  local state = read_state(kept.state)
  state[OPEN_HOLDS], state[SWEEP_AT_MS] = math.max(0, state[OPEN_HOLDS] - ended), next_sweep_ms
  redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, unpack(state, 1, 8)))
  return table.concat(expired)
end
