-- Charges windows; prelude of the scripts that end a request. See ADR 9.

-- Adds to `write`, for HSET, the windows that are known, whose fields are ARGV[6] and following and whose values kept[3] and
-- following: what `hold` held of them, if there is one, is replaced by what was used, AMOUNTS unpacked.
local function charge(write, kept, hold, used)
  hold = hold or {0, 0, 0, 0}
  for i = 6, #ARGV do
    if kept[i - 3] then
      local window = {struct.unpack(WINDOW, kept[i - 3])}
      for unit = REQUESTS, COST_NUSD do
        local charged, held = window[USED + unit] + used[unit], window[HELD + unit] - hold[LEASE_UNTIL_MS + unit]
        window[USED + unit] = charged < MOST and charged or MOST
        window[HELD + unit] = held > 0 and held or 0
      end
      write[#write + 1] = ARGV[i]
      write[#write + 1] = struct.pack(WINDOW, unpack(window, 1, 6))
    end
  end
end
