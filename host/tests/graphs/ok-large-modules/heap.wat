(component
  (core module $m
    (memory 160)
    (table 0 funcref)
    (func (export "go")))
  (core instance $i (instantiate $m))
  (func $go (canon lift (core func $i "go")))
  (instance $api (export "go" (func $go)))
  (export "a:heap/x" (instance $api)))
