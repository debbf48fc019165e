;; Needs more memory at its start than the engine for small modules reserves.
(component
  (import "a:b/last" (instance $last (export "go" (func))))
  (core func $last (canon lower (func $last "go")))
  (core module $m (import "last" "go" (func)) (memory 160) (export "go" (func 0)))
  (core instance $i (instantiate $m (with "last" (instance (export "go" (func $last))))))
  (func $go (canon lift (core func $i "go")))
  (instance $heap (export "go" (func $go)))
  (export "a:b/heap" (instance $heap)))
