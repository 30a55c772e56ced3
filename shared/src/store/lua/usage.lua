-- Tells what windows have used and hold, after the holds are ended whose lease is over.
--
-- KEYS  1 … windows
-- ARGV  1 now_ms
-- Answers for each window {ur, ut, uc, hr, ht, hc}, empty if it is not known; then the list of lost holds as
-- "request r t c windows".

local lost, told = {}, {}
for i = 1, #KEYS do
  local window = read_swept(i, '', tonumber(ARGV[1]), lost)
  told[i] = window and {window[1], window[2], window[3], window[4], window[5], window[6]} or {}
end
told[#KEYS + 1] = told_of(lost)
return told
