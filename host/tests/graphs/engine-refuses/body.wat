(component
  (core module $m
    
    (func (export "run") (result i32) (i64.const 1)))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/body@1.0.0" (instance $api)))
