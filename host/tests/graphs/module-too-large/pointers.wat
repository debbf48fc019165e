(component
  (core module $m
    (memory 1)
    (table 300000 funcref)
    (func (export "go")))
  (core instance $i (instantiate $m))
  (func $go (canon lift (core func $i "go")))
  (instance $api (export "go" (func $go)))
  (export "a:pointers/x" (instance $api)))
