// Prints ../src/tables.rs: the fields of the objects that flipguard lists, by the tags of the Go types of Kubernetes.
// With `pairs COUNT SEED`, prints random lists of such objects, as protobuf and as JSON.
package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"unicode"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The fields that are kept. A field without braces is kept with everything in it.
const metadata = `metadata{name namespace uid resourceVersion generation creationTimestamp deletionTimestamp labels
	annotations ownerReferences{apiVersion kind name uid controller}}`

const workload = metadata + ` spec{replicas paused selector{matchLabels matchExpressions{key}} strategy updateStrategy
	ordinals template{metadata{labels annotations} spec}}
	status{observedGeneration replicas updatedReplicas readyReplicas availableReplicas updateRevision
	desiredNumberScheduled currentNumberScheduled updatedNumberScheduled numberReady numberAvailable
	conditions{type reason lastUpdateTime}}`

const container = `{name image ports{name containerPort protocol} readinessProbe{periodSeconds} restartPolicy}`
const state = `{ready imageID state{waiting{reason} terminated{reason exitCode} running{startedAt}}}`

var roots = []struct {
	object any
	keep   string
}{
	{meta.Status{}, "status message reason code"},
	{meta.ListMeta{}, "continue remainingItemCount"},
	{apps.Deployment{}, workload},
	{apps.StatefulSet{}, workload},
	{apps.DaemonSet{}, workload},
	{apps.ReplicaSet{}, workload},
	{apps.ControllerRevision{}, metadata + " data"},
	{batch.Job{}, metadata + ` spec{managedBy template{spec{containers{image} initContainers{image}}}}
		status{succeeded conditions{type status lastTransitionTime}}`},
	{core.Service{}, metadata + ` spec{selector type publishNotReadyAddresses externalName internalTrafficPolicy
		externalTrafficPolicy ports{port protocol targetPort nodePort}}`},
	{core.Pod{}, metadata + ` spec{nodeName containers` + container + ` initContainers` + container + `}
		status{phase reason podIP conditions{type status reason lastTransitionTime} initContainerStatuses` + state + `
		containerStatuses` + state + ` ephemeralContainerStatuses` + state + `}`},
}

// A type whose JSON depends on the release of Kubernetes: `creationTimestamp` is null in some. A list with one is an error.
var unstable = reflect.TypeOf(core.PersistentVolumeClaimTemplate{})

// A node of what is kept: nil for everything.
type node struct {
	name string
	keep *[]node
}

func parse(words []string) ([]node, []string) {
	nodes := []node{}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "}":
			return nodes, words
		case "{":
			var inner []node
			inner, words = parse(words)
			nodes[len(nodes)-1].keep = &inner
		default:
			nodes = append(nodes, node{name: word})
		}
	}
	return nodes, nil
}

func parsed(text string) *[]node {
	spaced := strings.NewReplacer("{", " { ", "}", " } ").Replace(text)
	nodes, _ := parse(strings.Fields(spaced))
	return &nodes
}

type tables struct {
	// The names of tables by type and by what is kept of it.
	names map[string]string
	taken map[string]bool
	text  []string
}

func words(keep *[]node) string {
	if keep == nil {
		return "*"
	}
	text := ""
	for _, one := range *keep {
		text += one.name + " " + words(one.keep) + ";"
	}
	return "{" + text + "}"
}

func upper(name string) string {
	letters := []rune(name)
	text := ""
	for i, letter := range letters {
		isNew := i > 0 && unicode.IsUpper(letter) &&
			(unicode.IsLower(letters[i-1]) || (i+1 < len(letters) && unicode.IsLower(letters[i+1])))
		if isNew {
			text += "_"
		}
		text += strings.ToUpper(string(letter))
	}
	return text
}

// The name of the table of a type. The table is written first where there is none.
func (t *tables) table(of reflect.Type, keep *[]node, within string) string {
	key := of.String() + words(keep)
	if name, ok := t.names[key]; ok {
		return name
	}
	name := upper(of.Name())
	if t.taken[name] {
		name = within + "_" + name // The same type, of which something else is kept.
	}
	if t.taken[name] {
		panic("two tables called " + name)
	}
	t.names[key], t.taken[name] = name, true
	var lines []string
	left := map[string]bool{}
	if keep != nil {
		for _, one := range *keep {
			left[one.name] = true
		}
	}
	for i := 0; i < of.NumField(); i++ {
		if line := t.field(of, of.Field(i), keep, left, name); line != "" {
			lines = append(lines, "        "+line+",\n")
		}
	}
	rest := "Rest::IsSkipped"
	if keep == nil {
		rest = "Rest::IsUnknown"
	}
	t.text = append(t.text, fmt.Sprintf("\npub(crate) static %s: Message = Message {\n    rest: %s,\n    fields: &[\n%s    ],\n};\n",
		name, rest, strings.Join(lines, "")))
	return name
}

func (t *tables) field(of reflect.Type, field reflect.StructField, keep *[]node, left map[string]bool, table string) string {
	tag := strings.Split(field.Tag.Get("protobuf"), ",")
	if len(tag) < 2 {
		return ""
	}
	json := strings.Split(field.Tag.Get("json"), ",")
	name, omits := json[0], false
	for _, option := range json[1:] {
		switch option {
		case "omitempty", "omitzero":
			omits = true
		case "inline":
		default:
			panic(of.String() + "." + field.Name + ": unknown option " + option)
		}
	}
	var inner *[]node
	if keep != nil {
		found := false
		for _, one := range *keep {
			if one.name == name {
				found, inner = true, one.keep
			}
		}
		if !found {
			return ""
		}
	}
	kind, presence, many := field.Type, "Always", "One"
	if omits {
		presence = "NotEmpty"
	}
	if kind.Kind() == reflect.Pointer {
		kind, presence = kind.Elem(), "Optional"
		if !omits {
			presence = "Nullable"
		}
	} else if kind.Kind() == reflect.Slice {
		kind, many = kind.Elem(), "Many"
	}
	if kind == unstable {
		return ""
	}
	if name == "" {
		presence = "Inline"
	}
	text := t.kind(kind, inner, table)
	if strings.HasPrefix(text, "Object") && presence == "NotEmpty" && many == "One" {
		// encoding/json never takes a struct for empty.
		presence = "Always"
	}
	if text == "Map" && strings.HasSuffix(name, "nnotations") && keep != nil {
		text = "Annotations"
	}
	return fmt.Sprintf("Field::new(%s, %q, %s, %s, %s)", tag[1], name, text, many, presence)
}

func (t *tables) kind(of reflect.Type, keep *[]node, table string) string {
	switch of {
	case reflect.TypeOf(resource.Quantity{}):
		return "Quantity"
	case reflect.TypeOf(intstr.IntOrString{}):
		return "IntOrString"
	case reflect.TypeOf(meta.Time{}):
		return "Time"
	case reflect.TypeOf(runtime.RawExtension{}):
		return "Json"
	}
	switch of.Kind() {
	case reflect.String:
		return "Text"
	case reflect.Bool:
		return "Bool"
	case reflect.Int32, reflect.Int64:
		return "Number"
	case reflect.Struct:
		return "Object(&" + t.table(of, keep, table) + ")"
	case reflect.Map:
		switch of.Elem() {
		case reflect.TypeOf(resource.Quantity{}):
			return "Quantities"
		}
		if of.Elem().Kind() == reflect.String {
			return "Map"
		}
	}
	panic("no kind for " + of.String())
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "pairs" {
		count, err := strconv.Atoi(os.Args[2])
		seed, also := strconv.ParseInt(os.Args[3], 10, 64)
		if err != nil || also != nil {
			panic("pairs COUNT SEED")
		}
		pairs(count, seed)
		return
	}
	t := tables{names: map[string]string{}, taken: map[string]bool{}}
	for _, root := range roots {
		t.table(reflect.TypeOf(root.object), parsed(root.keep), "")
	}
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "k8s.io/api" {
				version = module.Version
			}
		}
	}
	out := "//! Generated by `make tables` from the Go types of k8s.io/api " + version + ".\n\n" +
		"use crate::table::Kind::{\n    Annotations, Bool, IntOrString, Json, Map, Number, Object, Quantities, Quantity, Text, Time,\n};\n" +
		"use crate::table::Presence::{Always, Inline, NotEmpty, Nullable, Optional};\n" +
		"use crate::table::Times::{Many, One};\n" +
		"use crate::table::{Field, Message, Rest};\n"
	fmt.Print(out + strings.Join(t.text, ""))
}
