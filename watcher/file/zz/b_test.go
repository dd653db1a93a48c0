package zz
import ("testing";"os";"bytes";"encoding/json"
 "sigs.k8s.io/yaml"
 sj "sigs.k8s.io/json"
 y3 "go.yaml.in/yaml/v3"
 corev1 "k8s.io/api/core/v1"
 discoveryv1 "k8s.io/api/discovery/v1"
)
func items() [][]byte {
 b,_:=os.ReadFile("/tmp/big.yaml")
 b=b[bytes.Index(b,[]byte("\n- "))+1:]
 b=b[:bytes.Index(b,[]byte("\nkind: List"))]
 p:=bytes.Split(b,[]byte("\n- "))
 for i:=1;i<len(p);i++{p[i]=append([]byte("- "),p[i]...)}
 return p
}
func BenchmarkY2J(b *testing.B){ it:=items(); b.ReportAllocs(); for b.Loop(){ for _,x:=range it[:2000]{ if _,e:=yaml.YAMLToJSON(x);e!=nil{b.Fatal(e)}}}}
func BenchmarkY2JStrict(b *testing.B){ it:=items(); b.ReportAllocs(); for b.Loop(){ for _,x:=range it[:2000]{ if _,e:=yaml.YAMLToJSONStrict(x);e!=nil{b.Fatal(e)}}}}
func BenchmarkY3(b *testing.B){ it:=items(); b.ReportAllocs(); for b.Loop(){ for _,x:=range it[:2000]{ var n y3.Node; if e:=y3.Unmarshal(x,&n);e!=nil{b.Fatal(e)}}}}
func BenchmarkTyped(b *testing.B){ it:=items(); var js [][]byte; for _,x:=range it[:2000]{ j,_:=yaml.YAMLToJSON(x); js=append(js,j[1:len(j)-1])}
 b.ReportAllocs(); for b.Loop(){ for i,x:=range js { var o any=&corev1.Service{}; if i%2==1 {o=&discoveryv1.EndpointSlice{}}; if _,e:=sj.UnmarshalStrict(x,o);e!=nil{b.Fatal(e)}}}}
func BenchmarkTypedStd(b *testing.B){ it:=items(); var js [][]byte; for _,x:=range it[:2000]{ j,_:=yaml.YAMLToJSON(x); js=append(js,j[1:len(j)-1])}
 b.ReportAllocs(); for b.Loop(){ for i,x:=range js { var o any=&corev1.Service{}; if i%2==1 {o=&discoveryv1.EndpointSlice{}}; if e:=json.Unmarshal(x,o);e!=nil{b.Fatal(e)}}}}
