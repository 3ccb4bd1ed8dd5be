package main

import (
	"github.com/twmb/franz-go/pkg/kadm"
)

// CreateTopic creates a topic.
func (f *Franz) CreateTopic(topic string, partitions int32, factor int16, configs map[string]string) error {
	ctx, cancel := limited()
	defer cancel()
	values := map[string]*string{}
	for name, value := range configs {
		values[name] = &value
	}
	_, err := f.admin.CreateTopic(ctx, partitions, factor, values, topic)
	return err
}

// DeleteTopic deletes a topic.
func (f *Franz) DeleteTopic(topic string) error {
	ctx, cancel := limited()
	defer cancel()
	_, err := f.admin.DeleteTopic(ctx, topic)
	return err
}

// CreatePartitions raises the number of partitions.
func (f *Franz) CreatePartitions(topic string, total int32) error {
	ctx, cancel := limited()
	defer cancel()
	answers, err := f.admin.UpdatePartitions(ctx, int(total), topic)
	if err != nil {
		return err
	}
	return answers.Error()
}

// Topics lists topics.
func (f *Franz) Topics() (map[string]int, error) {
	ctx, cancel := limited()
	defer cancel()
	topics, err := f.admin.ListTopics(ctx)
	out := map[string]int{}
	for name, topic := range topics {
		out[name] = len(topic.Partitions)
	}
	return out, err
}

// TopicConfigs describes a topic's configs.
func (f *Franz) TopicConfigs(topic string) (map[string]string, error) {
	ctx, cancel := limited()
	defer cancel()
	described, err := f.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	resource, err := described.On(topic, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, config := range resource.Configs {
		out[config.Key] = config.MaybeValue()
	}
	return out, resource.Err
}

// SetTopicConfig sets one config, or removes it.
func (f *Franz) SetTopicConfig(topic, name string, value *string) error {
	ctx, cancel := limited()
	defer cancel()
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value}
	if value == nil {
		change.Op = kadm.DeleteConfig
	}
	answers, err := f.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, topic)
	if err != nil {
		return err
	}
	answer, err := answers.On(topic, nil)
	if err != nil {
		return err
	}
	return answer.Err
}

func offsetsOf(listed kadm.ListedOffsets, err error, topic string) (map[int32]int64, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for partition, offset := range listed[topic] {
		out[partition] = offset.Offset
	}
	return out, nil
}

// StartOffsets lists the log starts.
func (f *Franz) StartOffsets(topic string) (map[int32]int64, error) {
	ctx, cancel := limited()
	defer cancel()
	listed, err := f.admin.ListStartOffsets(ctx, topic)
	return offsetsOf(listed, err, topic)
}

// EndOffsets lists the high watermarks.
func (f *Franz) EndOffsets(topic string) (map[int32]int64, error) {
	ctx, cancel := limited()
	defer cancel()
	listed, err := f.admin.ListEndOffsets(ctx, topic)
	return offsetsOf(listed, err, topic)
}

// OffsetsAt lists offsets for a timestamp.
func (f *Franz) OffsetsAt(topic string, timestamp int64) (map[int32]int64, error) {
	ctx, cancel := limited()
	defer cancel()
	listed, err := f.admin.ListOffsetsAfterMilli(ctx, timestamp, topic)
	return offsetsOf(listed, err, topic)
}

// DeleteRecords raises the log starts.
func (f *Franz) DeleteRecords(topic string, before map[int32]int64) error {
	ctx, cancel := limited()
	defer cancel()
	var offsets kadm.Offsets
	for partition, offset := range before {
		offsets.AddOffset(topic, partition, offset, -1)
	}
	answers, err := f.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	for _, answer := range answers[topic] {
		if answer.Err != nil {
			return answer.Err
		}
	}
	return nil
}

// LogSize sums the sizes that DescribeLogDirs tells.
func (f *Franz) LogSize(topic string) (int64, error) {
	ctx, cancel := limited()
	defer cancel()
	described, err := f.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, err
	}
	size := int64(0)
	described.Each(func(dir kadm.DescribedLogDir) {
		if dir.Err != nil {
			err = dir.Err
		}
		for _, partition := range dir.Topics[topic] {
			size += partition.Size
		}
	})
	return size, err
}

// Brokers counts the brokers.
func (f *Franz) Brokers() (int, error) {
	ctx, cancel := limited()
	defer cancel()
	brokers, err := f.admin.ListBrokers(ctx)
	return len(brokers), err
}

// Groups lists groups.
func (f *Franz) Groups() ([]string, error) {
	ctx, cancel := limited()
	defer cancel()
	groups, err := f.admin.ListGroups(ctx)
	return groups.Groups(), err
}

// DescribeGroup describes a classic group.
func (f *Franz) DescribeGroup(group string) (GroupDescription, error) {
	ctx, cancel := limited()
	defer cancel()
	described, err := f.admin.DescribeGroups(ctx, group)
	if err != nil {
		return GroupDescription{}, err
	}
	one := described[group]
	out := GroupDescription{State: one.State, Protocol: one.Protocol, Members: len(one.Members)}
	for _, partitions := range one.AssignedPartitions() {
		out.Assigned += len(partitions)
	}
	return out, one.Err
}

// GroupOffsets fetches committed offsets.
func (f *Franz) GroupOffsets(group, topic string) (map[int32]int64, error) {
	ctx, cancel := limited()
	defer cancel()
	answers, err := f.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = answers.Error()
	}
	out := map[int32]int64{}
	for partition, offset := range answers[topic] {
		out[partition] = offset.At
	}
	return out, err
}

// SetGroupOffsets commits from outside.
func (f *Franz) SetGroupOffsets(group, topic string, wanted map[int32]int64) error {
	ctx, cancel := limited()
	defer cancel()
	var offsets kadm.Offsets
	for partition, offset := range wanted {
		offsets.AddOffset(topic, partition, offset, -1)
	}
	answers, err := f.admin.CommitOffsets(ctx, group, offsets)
	if err == nil {
		err = answers.Error()
	}
	return err
}

// DeleteGroupOffset deletes one committed offset.
func (f *Franz) DeleteGroupOffset(group, topic string, partition int32) error {
	ctx, cancel := limited()
	defer cancel()
	var set kadm.TopicsSet
	set.Add(topic, partition)
	answers, err := f.admin.DeleteOffsets(ctx, group, set)
	if err != nil {
		return err
	}
	return answers[topic][partition]
}

// DeleteGroup deletes a group.
func (f *Franz) DeleteGroup(group string) error {
	ctx, cancel := limited()
	defer cancel()
	answer, err := f.admin.DeleteGroup(ctx, group)
	if err != nil {
		return err
	}
	return answer.Err
}
