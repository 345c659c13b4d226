package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand"
	"reflect"
	"strconv"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	fuzzer "k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/randfill"
)

// Numbers and protocols that the API server would store.
func plausible(serializer.CodecFactory) []any {
	return []any{
		func(n *int32, c randfill.Continue) { *n = int32(c.Int63() % 3) },
		func(n *int64, c randfill.Continue) { *n = c.Int63() % 3 },
		func(p *core.Protocol, c randfill.Continue) {
			*p = []core.Protocol{core.ProtocolTCP, core.ProtocolUDP, core.ProtocolSCTP}[c.Intn(3)]
		},
		func(r *apps.ControllerRevision, c randfill.Continue) {
			c.Fill(&r.ObjectMeta)
			r.Data = runtime.RawExtension{Raw: []byte(`{"spec":{"template":{"spec":{"a":"<` + strconv.Itoa(c.Intn(9)) + `"}}}}`)}
		},
		// The JSON of a claim's template depends on the release of Kubernetes.
		func(v *core.Volume, c randfill.Continue) {
			c.FillNoCustom(v)
			v.Ephemeral = nil
		},
	}
}

// Prints lists of random objects as `<protobuf in base64> <JSON>`, each as the API server writes it.
func pairs(count int, seed int64) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apps.AddToScheme, batch.AddToScheme, core.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	codecs := serializer.NewCodecFactory(scheme)
	fill := fuzzer.FuzzerFor(
		fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, plausible), rand.NewSource(seed), codecs)
	asJSON := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{})
	asProtobuf := protobuf.NewSerializer(scheme, scheme)
	lists := []struct {
		list    runtime.Object
		version string
	}{
		{&apps.DeploymentList{}, "apps/v1"}, {&apps.StatefulSetList{}, "apps/v1"}, {&apps.DaemonSetList{}, "apps/v1"},
		{&apps.ReplicaSetList{}, "apps/v1"}, {&apps.ControllerRevisionList{}, "apps/v1"}, {&batch.JobList{}, "batch/v1"},
		{&core.ServiceList{}, "v1"}, {&core.PodList{}, "v1"},
	}
	for i := 0; i < count; i++ {
		for _, one := range lists {
			list := reflect.New(reflect.TypeOf(one.list).Elem())
			items := list.Elem().FieldByName("Items")
			items.Set(reflect.MakeSlice(items.Type(), 2, 2))
			for at := 0; at < 2; at++ {
				fill.Fill(items.Index(at).Addr().Interface())
			}
			object := list.Interface().(runtime.Object)
			kind := reflect.TypeOf(one.list).Elem().Name()
			object.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(one.version, kind))
			body, err := runtime.Encode(asProtobuf, object)
			if err != nil {
				panic(err)
			}
			// An object has been stored as protobuf before it is read: an empty list is none.
			stored, err := runtime.Decode(asProtobuf, body)
			if err != nil {
				panic(err)
			}
			text, err := runtime.Encode(asJSON, stored)
			if err != nil {
				panic(err)
			}
			fmt.Printf("%s %s\n", base64.StdEncoding.EncodeToString(body), bytes.TrimSpace(text))
		}
	}
}
